//! The HTTP side of the flow: customers and canaries order here, and faults are switched.
//!
//! | route | answer |
//! |---|---|
//! | `POST /orders` `{"market":"at"}`, also with `"kind":"canary"` | 201 `{"order_id":…,"status":"received"}` |
//! | `GET /orders/{id}` | 200 with the same fields, 404 once the order is settled and forgotten |
//! | `GET /admin/fault` | what is switched on |
//! | `POST /admin/fault` `{"fault":…,"share":…,"market":…}` | switches; without a market everywhere, a share of 0 ends the fault |
//! | `POST /admin/refund` `{"market":…,"older_than_seconds":…}` | refunds what is charged and unconfirmed |
//! | `GET /health` | 200 |

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, header};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::fault::Fault;
use super::flow::Flow;
use super::order::Maker;
use crate::spans::Headers;

/// What the handlers share.
#[derive(Debug, Clone)]
pub(super) struct Gateway {
    pub(super) flow: Arc<Flow>,
    pub(super) maker: Arc<Mutex<Maker>>,
    pub(super) markets: Arc<[String]>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    market: String,
    #[serde(default)]
    kind: OrderKind,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OrderKind {
    #[default]
    Business,
    Canary,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultOrder {
    fault: String,
    share: f64,
    market: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefundOrder {
    market: Option<String>,
    older_than_seconds: u64,
}

/// A request that cannot be served, with the words for its sender.
struct Refused(StatusCode, String);

/// The routes.
pub(super) fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/health", get(async || answer(StatusCode::OK, &json!({ "status": "healthy" }))))
        .route("/orders", post(place))
        .route("/orders/{id}", get(look))
        .route("/admin/fault", get(faults).post(switch))
        .route("/admin/refund", post(refund))
        .with_state(gateway)
}

async fn place(State(gateway): State<Gateway>, headers: HeaderMap, body: Bytes) -> Response {
    let new: NewOrder = match read(&body, r#"{"market":"at"}"#) {
        Ok(new) => new,
        Err(refused) => return refused.answer(),
    };
    if let Err(refused) = gateway.markets_of(Some(&new.market)) {
        return refused.answer();
    }
    let order = {
        let mut maker = gateway.maker.lock().unwrap_or_else(PoisonError::into_inner);
        match new.kind {
            OrderKind::Business => maker.order(&new.market),
            OrderKind::Canary => maker.canary(&new.market),
        }
    };
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(&headers));
    // Whoever hangs up has ordered all the same.
    let (flow, id) = (Arc::clone(&gateway.flow), order.id.clone());
    if tokio::spawn(async move { flow.place(order, parent).await }).await.is_err() {
        return answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": "the order was not taken" }));
    }
    answer(StatusCode::CREATED, &json!({ "order_id": id, "status": "received" }))
}

async fn look(State(gateway): State<Gateway>, Path(id): Path<String>) -> Response {
    match gateway.flow.ledger.status(&id) {
        Some(status) => answer(StatusCode::OK, &json!({ "order_id": id, "status": status.as_str() })),
        None => answer(StatusCode::NOT_FOUND, &json!({ "error": "no such order, or it is settled" })),
    }
}

async fn faults(State(gateway): State<Gateway>) -> Response {
    answer(StatusCode::OK, &gateway.switched_on())
}

async fn switch(State(gateway): State<Gateway>, body: Bytes) -> Response {
    let switched = read(&body, r#"{"fault":"ack-before-store","share":0.05,"market":"at"}"#)
        .and_then(|order| gateway.switch(&order));
    match switched {
        Ok(()) => answer(StatusCode::OK, &gateway.switched_on()),
        Err(refused) => refused.answer(),
    }
}

async fn refund(State(gateway): State<Gateway>, body: Bytes) -> Response {
    let order: Result<RefundOrder, _> = read(&body, r#"{"market":"at","older_than_seconds":120}"#);
    let known = order.and_then(|order| gateway.markets_of(order.market.as_deref()).map(|_| order));
    let RefundOrder { market, older_than_seconds } = match known {
        Ok(order) => order,
        Err(refused) => return refused.answer(),
    };
    let owed = gateway.flow.ledger.owed(market.as_deref(), Duration::from_secs(older_than_seconds));
    for (order, context) in &owed {
        gateway.flow.refund(order, context);
    }
    answer(StatusCode::OK, &json!({ "refunded": owed.len() }))
}

impl Gateway {
    /// The market of this name, or all when there is none.
    fn markets_of(&self, name: Option<&str>) -> Result<Vec<&String>, Refused> {
        let found: Vec<_> =
            self.markets.iter().filter(|market| name.is_none_or(|name| *market == name)).collect();
        if found.is_empty() {
            let (name, known) = (name.unwrap_or_default(), self.markets.join(", "));
            return Err(Refused(
                StatusCode::BAD_REQUEST,
                format!("there is no market `{name}`; known are {known}"),
            ));
        }
        Ok(found)
    }

    fn switch(&self, order: &FaultOrder) -> Result<(), Refused> {
        let bad = |words| Refused(StatusCode::BAD_REQUEST, words);
        let fault: Fault = order.fault.parse().map_err(bad)?;
        if !(0.0..=1.0).contains(&order.share) {
            return Err(bad(format!("share {} is not between 0 and 1; write 0.05 for 5 %", order.share)));
        }
        for market in self.markets_of(order.market.as_deref())? {
            self.flow.set_fault(market, fault, order.share);
        }
        Ok(())
    }

    fn switched_on(&self) -> Value {
        let list = self.flow.switch.list().into_iter();
        let faults = list.map(
            |(market, fault, share)| json!({ "market": market, "fault": fault.as_str(), "share": share }),
        );
        json!({ "faults": faults.collect::<Vec<_>>() })
    }
}

impl Refused {
    fn answer(&self) -> Response {
        answer(self.0, &json!({ "error": self.1 }))
    }
}

fn read<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        Refused(StatusCode::BAD_REQUEST, format!("the body cannot be used: {error}; send {example}"))
    })
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
