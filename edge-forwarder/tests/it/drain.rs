//! The end: what was taken is settled and answered; nothing is answered that is not in the topic.

use telemetry_wire::Signal;
use tokio::task::JoinSet;

use crate::{
    requests::small,
    support::{Edge, until, within},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_answers_what_was_taken_and_acks_only_what_is_stored() {
    let edge = Edge::ready("kafka: {producer: {linger: 50ms}}").await;
    let mut senders = JoinSet::new();
    for _ in 0..20 {
        let url = edge.url(Signal::Logs.http_path());
        senders.spawn(async move {
            let client = reqwest::Client::new();
            let mut acked = 0;
            loop {
                let request = client.post(&url).header("content-type", "application/x-protobuf");
                match request.body(small(Signal::Logs).0).send().await {
                    Ok(answer) if answer.status() == 200 => acked += 1,
                    Ok(answer) => assert_eq!(answer.status(), 503),
                    // Refused once the port is closed; a request that was taken gets its answer.
                    Err(error) => {
                        assert!(error.is_connect() || error.is_request(), "{error:?}");
                        return acked;
                    }
                }
            }
        });
    }
    until("some load", async || edge.metric("edge_publisher_acked_items_total", "") > 300.0).await;
    edge.begin_shutdown();
    let acked: i64 = within("the senders", senders.join_all()).await.into_iter().sum();
    let topics = edge.topics.clone();
    edge.assert_conserved();
    edge.stop().await;
    let stored = topics.count(&topics.of(Signal::Logs)).await;
    assert_eq!(stored, acked, "every record in the topic was acked to its sender, and the other way round");
}
