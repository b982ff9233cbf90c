//! One test per class of delivery errors.

use super::*;

#[track_caller]
fn check(kind: DeliveryErrorKind, codes: &[Code]) {
    for &code in codes {
        assert_eq!(DeliveryError::from_code(code).kind(), kind, "{code:?}");
    }
}

#[test]
fn errors_of_the_record_itself_are_for_the_dead_letter_topic() {
    check(
        DeliveryErrorKind::Record,
        &[Code::MessageSizeTooLarge, Code::MessageBatchTooLarge, Code::InvalidRecord, Code::InvalidTimestamp],
    );
}

#[test]
fn a_missing_or_forbidden_topic_is_never_the_records_fault() {
    check(
        DeliveryErrorKind::Topic,
        &[
            Code::UnknownTopic,
            Code::UnknownTopicOrPartition,
            Code::UnknownPartition,
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::InvalidTopic,
        ],
    );
}

#[test]
fn a_broken_idempotent_session_needs_a_new_instance() {
    check(
        DeliveryErrorKind::Fatal,
        &[
            Code::Fatal,
            Code::UnknownProducerId,
            Code::OutOfOrderSequenceNumber,
            Code::GaplessGuarantee,
            Code::ProducerFenced,
        ],
    );
}

#[test]
fn trouble_on_the_way_is_retryable_and_so_is_every_code_without_a_rule() {
    check(
        DeliveryErrorKind::Retryable,
        &[
            Code::MessageTimedOut,
            Code::BrokerTransportFailure,
            Code::AllBrokersDown,
            Code::NotEnoughReplicas,
            Code::NotEnoughReplicasAfterAppend,
            Code::NotLeaderForPartition,
            Code::RequestTimedOut,
            Code::KafkaStorageError,
            Code::InvalidMessage,
            Code::PurgeQueue,
            Code::SaslAuthenticationFailed,
            Code::Unknown,
        ],
    );
}

#[test]
fn a_record_that_may_have_been_stored_is_called_ambiguous() {
    let codes = [
        Code::MessageTimedOut,
        Code::PurgeInflight,
        Code::PurgeQueue,
        Code::NotEnoughReplicas,
        Code::NotEnoughReplicasAfterAppend,
        Code::UnknownTopic,
        Code::Fatal,
    ];
    for code in codes {
        assert!(DeliveryError::from_code(code).is_ambiguous(), "{code:?}");
    }
    for code in [Code::MessageSizeTooLarge, Code::InvalidRecord, Code::QueueFull] {
        assert!(!DeliveryError::from_code(code).is_ambiguous(), "{code:?}");
    }
}
