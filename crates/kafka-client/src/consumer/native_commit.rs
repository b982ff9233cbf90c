//! Issues a commit whose report comes back through the polled queue: the one call that the binding does not offer.
//!
//! The binding's own commits are of no use to us. Its asynchronous one never reports: its event handler waits for an
//! event that librdkafka creates only when a callback is set in the configuration, which the binding does not do. Its
//! synchronous one blocks, and answers "done" when some of the partitions were refused. The C function with a reply
//! queue does neither: it returns at once and reports every partition.
#![allow(unsafe_code, reason = "one call of the C interface that the binding does not wrap; see above")]

use std::ptr;

use rdkafka::{
    bindings,
    consumer::{BaseConsumer, Consumer},
    error::{IsError, KafkaError},
    topic_partition_list::TopicPartitionList,
};

use super::context::Context;

/// Hands the commit to librdkafka. Its report reaches `commit_callback` of the context while the client is polled.
pub(super) fn commit(client: &BaseConsumer<Context>, offsets: &TopicPartitionList) -> Result<(), KafkaError> {
    // SAFETY: the client lives during the call, and so does the list, which the call copies. The queue reference is
    // ours: it is null or counted, the call takes a reference of its own, and we give ours back once. Without a
    // callback the report becomes an event, which the binding reads and frees.
    let code = unsafe {
        let native = client.client().native_ptr();
        let queue = bindings::rd_kafka_queue_get_consumer(native);
        if queue.is_null() {
            return Err(KafkaError::ConsumerCommit(rdkafka::error::RDKafkaErrorCode::UnknownGroup));
        }
        let code = bindings::rd_kafka_commit_queue(native, offsets.ptr(), queue, None, ptr::null_mut());
        bindings::rd_kafka_queue_destroy(queue);
        code
    };
    if code.is_error() { Err(KafkaError::ConsumerCommit(code.into())) } else { Ok(()) }
}
