//! What a delivery does with each verdict, against a sink that answers by script. Dead letters need a broker and are
//! tested in `tests/it`.

use std::sync::Mutex;

use bytes::Bytes;
use kafka_client::{ConnectionConfig, Producer, ProducerConfig};
use prometheus_client::registry::Registry;
use service_runtime::Readiness;
use telemetry_wire::Signal;

use super::*;
use crate::{
    dead_letter::Pace,
    metrics::Metrics,
    sink::{Origin, Refused, Unreadable},
};

/// Stores values; what it answers to a request of these values at an attempt is the script's.
struct ScriptedSink<F> {
    script: F,
    /// Every request, in order.
    sent: Mutex<Vec<Vec<String>>>,
}

impl<F: Fn(&[String], u32) -> Verdict + Send + Sync + 'static> Sink for ScriptedSink<F> {
    type Block = Vec<String>;
    type Request = Vec<String>;

    fn new_block(&self) -> Vec<String> {
        Vec::new()
    }

    fn add(&self, block: &mut Vec<String>, fragment: &Fragment) -> Result<(), Unreadable> {
        block.push(String::from_utf8(fragment.value.to_vec()).unwrap());
        Ok(())
    }

    fn has_room(&self, _: &Vec<String>, _: usize) -> bool {
        true
    }

    fn items(&self, block: &Vec<String>) -> u64 {
        block.len() as u64
    }

    fn seal(&self, block: &mut Vec<String>, _: &[Fragment], _: u64) -> Option<Sealed<Vec<String>>> {
        let request = std::mem::take(block);
        let items = request.len() as u64;
        (items > 0).then_some(Sealed { request, items, tally: None })
    }

    async fn send(&self, request: &Vec<String>, attempt: u32) -> Verdict {
        self.sent.lock().unwrap().push(request.clone());
        (self.script)(request, attempt)
    }

    fn halve(&self, fragment: &Fragment) -> Option<[Bytes; 2]> {
        let middle = fragment.value.len() / 2;
        (middle > 0).then(|| [fragment.value.slice(..middle), fragment.value.slice(middle..)])
    }
}

const STORED: Verdict = Verdict::Stored { refused: None };

fn wait() -> Verdict {
    Verdict::Wait { reason: "down", detail: String::new(), at_least: None }
}

fn divide(alone: Alone) -> Verdict {
    Verdict::Divide { reason: "bad", detail: String::new(), alone }
}

pub(super) fn fragment(offset: i64, value: &str) -> Fragment {
    let value = Bytes::copy_from_slice(value.as_bytes());
    let origin = Origin {
        topic: "otlp_logs".into(),
        partition: 0,
        offset,
        timestamp_ms: None,
        key: None,
        value: value.clone(),
        headers: Vec::new(),
        credit: None,
    };
    Fragment::whole(Arc::new(origin), value)
}

/// A delivery to a sink, whose dead letters go nowhere.
pub(super) fn delivery_to<S>(sink: Arc<S>, readiness: &Readiness) -> Delivery<S> {
    let metrics = Metrics::register(&mut Registry::default()).of(Signal::Logs);
    // Port 1 answers nothing: a dead letter in these tests would hang, and does not happen.
    let connection = ConnectionConfig::plaintext(&["127.0.0.1:1"], "test");
    let dead_letter = DeadLetter {
        producer: Producer::new(&ProducerConfig::new(connection)).unwrap(),
        topic: "otlp_logs.dlq".into(),
        backoff: BackoffConfig::default(),
        health: readiness.condition("dead_letter"),
        metrics: metrics.clone(),
        written: Pace::default(),
        failed: Pace::default(),
    };
    dead_letter.health.ready();
    Delivery {
        sink,
        dead_letter,
        slots: Arc::new(Semaphore::new(1)),
        backoff: BackoffConfig::default(),
        health: readiness.condition("sink"),
        metrics,
        stored: AtomicU64::new(0),
    }
}

/// Delivers one fragment per value and returns the requests that were sent.
async fn check(
    values: &[&str],
    script: impl Fn(&[String], u32) -> Verdict + Send + Sync + 'static,
    expected: &[&[&str]],
) -> Readiness {
    let readiness = Readiness::new();
    let sink = Arc::new(ScriptedSink { script, sent: Mutex::default() });
    let delivery = delivery_to(Arc::clone(&sink), &readiness);
    let fragments: Vec<Fragment> =
        values.iter().enumerate().map(|(offset, value)| fragment(offset as i64, value)).collect();
    let block = values.iter().map(|value| (*value).to_owned()).collect();
    let delivered = delivery.deliver(block, fragments).await;
    assert!(delivered.block.is_empty() && delivered.dead_lettered.is_empty());
    assert_eq!(*sink.sent.lock().unwrap(), expected);
    assert_eq!(delivery.slots.available_permits(), 1, "the slot is given back");
    readiness
}

#[tokio::test(start_paused = true)]
async fn stored_block_is_sent_once() {
    let readiness = check(&["a", "b"], |_, _| STORED, &[&["a", "b"]]).await;
    assert!(readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn unavailable_sink_gets_the_same_request_until_it_stores_it() {
    let up_at_40 = |_: &[String], attempt| if attempt < 40 { wait() } else { STORED };
    let same: Vec<&[&str]> = vec![&["a", "b"]; 40];
    let readiness = check(&["a", "b"], up_at_40, &same).await;
    assert!(readiness.is_ready(), "ready again once it stores");
}

#[tokio::test(start_paused = true)]
async fn alert_keeps_the_records_until_an_operator_has_healed_it() {
    let healed_at_3 = |_: &[String], attempt| {
        if attempt < 3 { Verdict::Alert { reason: "schema", detail: String::new() } } else { STORED }
    };
    check(&["a"], healed_at_3, &[&["a"], &["a"], &["a"]]).await;
}

#[tokio::test(start_paused = true)]
async fn request_that_no_longer_fits_is_encoded_anew() {
    let calls = AtomicU64::new(0);
    let changed_once = move |_: &[String], attempt| {
        assert_eq!(attempt, 1, "a new request counts its own attempts");
        if calls.fetch_add(1, Ordering::Relaxed) == 0 { Verdict::Stale } else { STORED }
    };
    check(&["a", "b"], changed_once, &[&["a", "b"], &["a", "b"]]).await;
}

#[tokio::test(start_paused = true)]
async fn halves_are_sent_in_order_down_to_parts_of_a_record() {
    let two_bytes_at_most = |request: &[String], _| {
        if request.concat().len() > 2 { divide(Alone::DeadLetter) } else { STORED }
    };
    let expected: &[&[&str]] =
        &[&["a", "bcde", "f"], &["a"], &["bcde", "f"], &["bcde"], &["bc"], &["de"], &["f"]];
    check(&["a", "bcde", "f"], two_bytes_at_most, expected).await;
}

#[tokio::test(start_paused = true)]
async fn lone_suspect_waits_behind_the_others_and_for_one_of_them_to_pass() {
    // The sink fails at everything for a while: nothing may be given up for it.
    let calls = AtomicU64::new(0);
    let broken_for_9_requests = move |request: &[String], _| {
        let is_broken = calls.fetch_add(1, Ordering::Relaxed) < 9;
        if is_broken && request.len() == 1 { divide(Alone::DeadLetterOnceOthersPass) } else { STORED }
    };
    let same: Vec<&[&str]> = vec![&["a"]; 10];
    check(&["a"], broken_for_9_requests, &same).await;
}

#[tokio::test(start_paused = true)]
async fn request_refused_only_for_its_amount_waits_when_it_cannot_be_divided() {
    let later = |_: &[String], attempt| if attempt < 7 { divide(Alone::Wait) } else { STORED };
    let same: Vec<&[&str]> = vec![&["a"]; 7];
    check(&["a"], later, &same).await;
}

#[tokio::test(start_paused = true)]
async fn refused_items_are_gone_and_the_rest_is_stored() {
    let partly = |_: &[String], _| {
        let refused = Refused { reason: "partial_success", items: 1, detail: String::new() };
        Verdict::Stored { refused: Some(refused) }
    };
    check(&["a", "b"], partly, &[&["a", "b"]]).await;
}

#[tokio::test(start_paused = true)]
async fn block_without_items_is_settled_without_a_request() {
    check(&[], |_, _| unreachable!("nothing is sent"), &[]).await;
}
