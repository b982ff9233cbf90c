//! One test for every row of the reply table.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;

use super::*;

const ASKED: Asked = Asked { points: 100, attempt: 1, burst: 1_000 };

/// The verdict in one word, with what distinguishes it.
fn check(status: u16, body: &[u8], asked: Asked, expected: &str) {
    let reply = Reply { status, retry_after: Some(Duration::from_secs(6)), body: body.to_vec() };
    let found = match verdict(&reply, asked) {
        Verdict::Stored { refused: None } => "stored".to_owned(),
        Verdict::Stored { refused: Some(Refused { reason, items, .. }) } => {
            format!("stored but {items} {reason}")
        }
        Verdict::Wait { reason, at_least, .. } => {
            assert_eq!(at_least, reply.retry_after, "the wish of the server is passed on");
            format!("wait {reason}")
        }
        Verdict::Alert { reason, .. } => format!("alert {reason}"),
        Verdict::Divide { reason, alone, .. } => format!("divide {reason} {alone:?}"),
        Verdict::Unknown { reason, .. } => panic!("a reply of Mimir is never unknown: {reason}"),
        Verdict::Stale => "stale".to_owned(),
    };
    assert_eq!(found, expected, "status {status}, {asked:?}");
}

fn partial(rejected_data_points: i64, error_message: &str) -> Vec<u8> {
    let partial =
        ExportMetricsPartialSuccess { rejected_data_points, error_message: error_message.to_owned() };
    ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
}

#[test]
fn success_without_refusals_is_stored() {
    check(200, b"", ASKED, "stored");
    check(204, b"", ASKED, "stored");
    check(200, &partial(0, ""), ASKED, "stored");
    check(200, b"\xff not a response", ASKED, "stored");
}

#[test]
fn partial_success_is_stored_and_counted_never_sent_again() {
    check(200, &partial(3, "out of order"), ASKED, "stored but 3 partial_success");
    check(200, &partial(0, "out of order"), ASKED, "stored but 1 partial_success");
}

#[test]
fn not_elected_replica_is_done() {
    check(202, b"", ASKED, "stored but 100 ha_not_elected");
}

#[test]
fn bad_request_of_mimir_that_stored_the_rest_is_not_sent_again() {
    check(400, b"otlp parse error: invalid temporality and type combination", ASKED, "stored but 1 rejected");
}

#[test]
fn samples_are_refused_by_the_first_of_mimirs_error_ids() {
    let text =
        |id| format!("failed pushing to ingester: the sample has been rejected (err-mimir-sample-{id})");
    assert_eq!(sample_fault(&text("timestamp-too-old")), "too_old");
    assert_eq!(sample_fault(&text("out-of-order")), "out_of_order");
    let both = text("duplicate-timestamp") + &text("timestamp-too-old");
    assert_eq!(sample_fault(&both), "duplicate_timestamp");
    assert_eq!(sample_fault("something else"), "partial_success");
}

#[test]
fn other_bad_request_is_bisected_and_dead_lettered() {
    check(400, b"out of order sample", ASKED, "divide bad_request DeadLetter");
    check(400, b"", ASKED, "divide bad_request DeadLetter");
    // The whole request may have been refused for the tenant: nothing says that any of it was stored.
    check(400, b"\x08\x03\x12\x20limit (err-mimir-max-label-names)", ASKED, "divide bad_request DeadLetter");
}

#[test]
fn wrong_configuration_alerts_and_keeps_the_records() {
    for status in [301, 401, 403, 404, 405, 415, 418] {
        check(status, b"", ASKED, "alert refused");
    }
}

#[test]
fn too_large_is_divided() {
    check(413, b"", ASKED, "divide too_large DeadLetter");
}

#[test]
fn rate_limit_waits_as_told() {
    check(429, b"", ASKED, "wait rate_limited");
}

#[test]
fn request_above_the_burst_is_divided_at_once_and_any_other_after_some_tries() {
    check(429, b"", Asked { points: 1_001, ..ASKED }, "divide rate_limited Wait");
    check(429, b"", Asked { attempt: TRIES, ..ASKED }, "divide rate_limited Wait");
    check(429, b"", Asked { points: 1, attempt: TRIES, burst: 0 }, "wait rate_limited");
}

#[test]
fn server_error_waits_and_then_looks_for_the_culprit() {
    check(500, b"", ASKED, "wait server_error");
    check(500, b"", Asked { attempt: TRIES, ..ASKED }, "divide server_error DeadLetterOnceOthersPass");
}

#[test]
fn unavailable_waits_without_limit() {
    for status in [502, 503, 504, 529] {
        check(status, b"", Asked { attempt: 1_000, ..ASKED }, "wait unavailable");
    }
    check(408, b"", Asked { attempt: 1_000, ..ASKED }, "wait timeout");
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now: Timestamp = "2015-10-21T07:27:30Z".parse().unwrap();
    let seconds = |value| retry_after(value, now).map(|delay| delay.as_secs());
    assert_eq!(seconds("120"), Some(120));
    assert_eq!(seconds(" 7 "), Some(7));
    assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(30));
    assert_eq!(seconds("Wed, 21 Oct 2015 07:27:00 GMT"), Some(0));
    assert_eq!(seconds("soon"), None);
}

#[test]
fn text_of_a_status_message_is_read() {
    let status = Status { code: 3, message: "bad metric".to_owned() };
    assert_eq!(text_of(&status.encode_to_vec()), "bad metric");
    assert_eq!(text_of(b" plain text\n"), "plain text");
}
