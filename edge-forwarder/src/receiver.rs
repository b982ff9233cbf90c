//! Where telemetry enters: one router for both ports, and the path that every request takes once its bytes are read.
//!
//! gRPC and HTTP are told apart by content type, so either port takes both and a sender with the wrong one of the two ports works.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Extensions, Request},
    response::Response,
};
use telemetry_wire::{InspectLimits, Signal, inspect};

use crate::{
    budget::MemoryBudget,
    config::ReceiverConfig,
    metrics::{Metrics, Transport},
    publisher::{Batch, Publisher, unix_nanos},
};
use answer::{Accepted, Refusal};
use buffer::RequestBytes;
use sender::{Peers, Sender, SlowLines};

mod answer;
mod body;
mod buffer;
mod cors;
mod decompress;
mod framing;
mod otlp_grpc;
mod otlp_http;
mod sender;

pub(crate) use body::BodyLimits;

/// Answers OTLP requests; clones share everything.
#[derive(Debug, Clone)]
pub struct Receiver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ReceiverConfig,
    budget: MemoryBudget,
    publisher: Publisher,
    metrics: Metrics,
    peers: Peers,
    lines: SlowLines,
}

impl Receiver {
    /// A receiver that hands what it takes to `publisher`.
    pub fn new(
        config: ReceiverConfig,
        budget: MemoryBudget,
        publisher: Publisher,
        metrics: Metrics,
    ) -> Receiver {
        let peers = Peers::new(config.connection_max_bytes, config.peer_max_bytes);
        let lines = SlowLines::default();
        Receiver { shared: Arc::new(Shared { config, budget, publisher, metrics, peers, lines }) }
    }

    /// What both ports serve.
    pub fn router(&self) -> Router {
        let router = Router::new().fallback(route).with_state(self.clone());
        match &self.config().cors {
            Some(config) => router.layer(cors::layer(config)),
            None => router,
        }
    }

    fn config(&self) -> &ReceiverConfig {
        &self.shared.config
    }

    /// Whose a request with these extensions is.
    fn sender(&self, extensions: &Extensions) -> Sender {
        self.shared.peers.sender(extensions)
    }

    fn budget(&self) -> &MemoryBudget {
        &self.shared.budget
    }

    /// Checks a request's protobuf bytes and publishes them. `unknown_field` is what the JSON had that the bytes no longer have.
    async fn accept(
        &self,
        signal: Signal,
        request: RequestBytes,
        unknown_field: Option<String>,
    ) -> Result<Accepted, Refusal> {
        let RequestBytes { bytes, reservation } = request;
        let limits = InspectLimits { max_depth: self.config().max_depth };
        let summary = inspect(signal, &bytes, &limits).map_err(|malformed| Refusal::Malformed {
            what: format!("the body is not a valid {signal} request: {malformed}"),
        })?;
        if summary.items == 0 {
            // Nothing to store: the specification asks for success, and for a warning where something was meant.
            let of_protobuf = || summary.unknown_field.map(|number| format!("with number {number}"));
            let unknown_field = unknown_field.or_else(of_protobuf);
            return Ok(unknown_field.map_or(Accepted::Empty, |field| {
                tracing::debug!(%signal, field, "nothing was found in a request");
                self.shared.metrics.count_unrecognized(signal);
                Accepted::Unrecognized { signal, field }
            }));
        }
        let batch =
            Batch { signal, request: bytes, items: summary.items, received_at: unix_nanos(), reservation };
        Ok(Accepted::Published(self.shared.publisher.publish(batch).await?))
    }

    /// Counts an answer, and logs a refusal at a level that a misbehaving sender cannot flood.
    fn count_answer(
        &self,
        signal: Signal,
        transport: Transport,
        code: String,
        refusal: Option<&Refusal>,
        sender: &Sender,
        started: Instant,
    ) {
        let metrics = &self.shared.metrics;
        if let Some(refusal) = refusal {
            let reason = refusal.reason();
            tracing::debug!(%signal, ?transport, code, reason, %refusal, elapsed = ?started.elapsed(), "request refused");
            self.shared.lines.tell(refusal, sender);
            metrics.count_refused(signal, reason);
        }
        metrics.count_request(signal, transport, code);
    }
}

async fn route(State(receiver): State<Receiver>, request: Request<Body>) -> Response {
    if otlp_grpc::is_grpc(request.headers()) {
        otlp_grpc::answer(&receiver, request).await
    } else {
        otlp_http::answer(&receiver, request).await
    }
}
