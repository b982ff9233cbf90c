//! What a slow sender may take of the edge's time.

use std::future::pending;

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use service_runtime::{Runtime, Settings};

use super::*;
use crate::{Config, budget::MemoryBudget, metrics::Metrics, publisher::Publisher, spool::Backlogs};

/// A receiver without a broker.
fn receiver() -> Receiver {
    let mut settings = Settings::from_yaml("EDGE", "kafka: {brokers: ['127.0.0.1:1']}", []);
    let config = Config::read(&mut settings.root());
    settings.finish().unwrap();
    let budget = MemoryBudget::new(config.memory_max_bytes);
    let metrics = Runtime::detached().register_metrics(|registry| Metrics::register(registry, &budget));
    let publisher =
        Publisher::start(&config.publisher, Backlogs::none(), &budget, &metrics, &Runtime::detached())
            .unwrap();
    Receiver::new(config.receivers, budget, publisher, metrics)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_waited_for_once() {
    let receiver = receiver();
    let started = tokio::time::Instant::now();
    let silence = Empty::<Bytes>::new().with_trailers(pending());
    let request = Request::post("/v1/logs").header("content-type", "application/json");
    let response = answer(&receiver, request.body(Body::new(silence)).unwrap()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    // The clock is the runtime's own, which moves only when nothing else can.
    let waited = started.elapsed();
    assert!(waited < 2 * receiver.config().body_timeout, "{waited:?}");
}
