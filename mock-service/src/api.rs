//! The Menu API: routes, answers, and the log line each of them leaves.
//!
//! | route | answer | log |
//! |---|---|---|
//! | `/health` | 200 | INFO |
//! | `/api/menu` | 200, or 500 at the failure rate | INFO, ERROR |
//! | `/api/menu/{id}` | 200, 404 unknown, 400 empty | INFO, WARN, WARN |
//! | unclean path, malformed escape | 301, 400 in plain text | none |
//! | anything else | 404 in plain text | none |
//!
//! Every method is accepted on every route. A request that takes longer than the request timeout (possible only with
//! a configured database latency) is answered 503 and logged as an error; the original would cut the connection.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Serialize;

use crate::database::RestaurantDatabase;
use crate::json;
use crate::log_line::{Level, LogLine, Milliseconds, WholeSeconds};
use crate::menu::MenuItem;
use crate::request_path::{RequestPath, redirect};
use crate::spans::{RequestSpan, Tracing};

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) database: RestaurantDatabase,
    pub(crate) tracing: Tracing,
    /// Longest time a handler may take; the original's write timeout.
    pub(crate) request_timeout: Duration,
}

/// Routes of the Menu API.
pub(crate) fn router(api: Api) -> Router {
    let api = Arc::new(api);
    Router::new()
        .route("/health", any(health))
        .route("/api/menu", any(list))
        .route("/api/menu/", any(item))
        .route("/api/menu/{*id}", any(item))
        .with_state(Arc::clone(&api))
        .fallback(not_found)
        .layer(from_fn_with_state(api, exchange))
        .layer(from_fn(admit))
}

/// Turns away what the original's router never lets reach a handler.
async fn admit(mut request: Request, next: Next) -> Response {
    let Ok(path) = RequestPath::decode(request.uri().path()) else {
        return plain(StatusCode::BAD_REQUEST, "400 Bad Request");
    };
    if request.method() != Method::CONNECT
        && let Some(location) = redirect(request.uri())
        && let Ok(location) = HeaderValue::try_from(location)
    {
        return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, location)]).into_response();
    }
    request.extensions_mut().insert(path);
    next.run(request).await
}

/// Opens the server span, bounds the time of the handler, and closes the span with the answer.
async fn exchange(
    State(api): State<Arc<Api>>,
    Extension(path): Extension<RequestPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let exchange = Exchange {
        method: request.method().clone(),
        path,
        started: Instant::now(),
        span: api.tracing.server_span(&request),
    };
    request.extensions_mut().insert(exchange.clone());
    let response = match tokio::time::timeout(api.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => exchange.timed_out(),
    };
    exchange.span.end(response.status());
    response
}

async fn health(Extension(exchange): Extension<Exchange>) -> Response {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
        timestamp: WholeSeconds,
    }
    let health = Health { status: "healthy", timestamp: WholeSeconds::now() };
    exchange.answer(StatusCode::OK, &health, &Event::info("Health check successful"))
}

async fn list(State(api): State<Arc<Api>>, Extension(exchange): Extension<Exchange>) -> Response {
    #[derive(Serialize)]
    struct Menu {
        menu_items: &'static [MenuItem],
        count: usize,
    }
    let mut call = exchange.span.database_call();
    let listed = api.database.list().await;
    match &listed {
        Ok(items) => call.record(RETURNED_ROWS, rows(items.len())),
        Err(timeout) => call.fail("timeout", timeout),
    }
    drop(call);
    match listed {
        Ok(menu_items) => {
            let count = menu_items.len();
            let event = Event::info(format!("Listed {count} menu items"));
            exchange.answer(StatusCode::OK, &Menu { menu_items, count }, &event)
        }
        Err(timeout) => exchange.refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Failed to fetch menu items from restaurant database",
            &Event::error("Failed to list menu items", timeout.to_string()),
        ),
    }
}

async fn item(State(api): State<Arc<Api>>, Extension(exchange): Extension<Exchange>) -> Response {
    #[derive(Serialize)]
    struct Item {
        menu_item: &'static MenuItem,
    }
    let id = {
        let _step = exchange.span.step("read menu item id");
        exchange.path.menu_item_id()
    };
    if id.is_empty() {
        let event = Event::warn("Invalid menu item request", "missing menu item ID");
        return exchange.refuse(StatusCode::BAD_REQUEST, "Menu item ID is required", &event);
    }
    let mut call = exchange.span.database_call();
    let found = api.database.find(id).await;
    call.record(RETURNED_ROWS, rows(found.iter().count()));
    drop(call);
    match found {
        Some(menu_item) => {
            let MenuItem { name, restaurant, .. } = menu_item;
            let event = Event::info(format!("Retrieved menu item: {name} from {restaurant}"));
            exchange.answer(StatusCode::OK, &Item { menu_item }, &event.about(id))
        }
        None => exchange.refuse(
            StatusCode::NOT_FOUND,
            &format!("Menu item with ID '{id}' not found"),
            &Event::warn(format!("Menu item ID {id} does not exist"), "menu item not found").about(id),
        ),
    }
}

async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// One request on its way through: who asked what, since when, and in which trace.
#[derive(Debug, Clone)]
struct Exchange {
    method: Method,
    path: RequestPath,
    started: Instant,
    span: RequestSpan,
}

impl Exchange {
    /// Encodes the answer and prints its log line.
    fn answer<T: Serialize>(&self, status: StatusCode, body: &T, event: &Event<'_>) -> Response {
        let body = {
            let _step = self.span.step("encode answer");
            json::line(body)
        };
        self.log(status, event);
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }

    fn refuse(&self, status: StatusCode, message: &str, event: &Event<'_>) -> Response {
        #[derive(Serialize)]
        struct Refusal<'a> {
            error: &'a str,
            message: &'a str,
        }
        let error = status.canonical_reason().expect("only standard status codes are answered");
        self.answer(status, &Refusal { error, message }, event)
    }

    fn timed_out(&self) -> Response {
        let event = Event::error("Request timed out", "handler timeout");
        self.refuse(StatusCode::SERVICE_UNAVAILABLE, "Request timed out", &event)
    }

    fn log(&self, status: StatusCode, event: &Event<'_>) {
        let mut line = LogLine {
            method: self.method.as_str(),
            path: self.path.as_str(),
            status_code: status.as_u16(),
            duration_ms: Milliseconds(self.started.elapsed()),
            error: event.error.as_deref(),
            menu_item_id: event.menu_item_id,
            ..LogLine::lifecycle(event.level, &event.message)
        };
        if let Some(span) = self.span.context() {
            line.correlate(&span);
        }
        line.print();
    }
}

/// What the log line says beyond the request itself.
struct Event<'a> {
    level: Level,
    message: Cow<'static, str>,
    error: Option<Cow<'static, str>>,
    menu_item_id: Option<&'a str>,
}

impl<'a> Event<'a> {
    fn info(message: impl Into<Cow<'static, str>>) -> Self {
        Event { level: Level::Info, message: message.into(), error: None, menu_item_id: None }
    }

    fn warn(message: impl Into<Cow<'static, str>>, error: impl Into<Cow<'static, str>>) -> Self {
        Event { level: Level::Warn, error: Some(error.into()), ..Event::info(message) }
    }

    fn error(message: impl Into<Cow<'static, str>>, error: impl Into<Cow<'static, str>>) -> Self {
        Event { level: Level::Error, error: Some(error.into()), ..Event::info(message) }
    }

    fn about(self, id: &'a str) -> Self {
        Event { menu_item_id: Some(id), ..self }
    }
}

/// The conventions' name for it; the constant is behind their "experimental" feature.
const RETURNED_ROWS: &str = "db.response.returned_rows";

fn rows(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A plain-text answer as Go's `http.Error` writes it.
fn plain(status: StatusCode, body: &'static str) -> Response {
    const NO_SNIFF: (HeaderName, &str) = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), NO_SNIFF], body).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_takes_too_long_is_answered_503() {
        let limit = Duration::from_secs(10);
        for (latency, expected) in [
            (limit - Duration::from_millis(2), StatusCode::OK),
            (limit + Duration::from_millis(2), StatusCode::SERVICE_UNAVAILABLE),
        ] {
            let database = RestaurantDatabase::new(0.0, latency, 1);
            let router = router(Api { database, tracing: Tracing::Disabled, request_timeout: limit });
            let request = Request::get("/api/menu").body(Body::empty()).unwrap();
            let answer = router.oneshot(request).await.unwrap();
            assert_eq!(answer.status(), expected, "{latency:?}");
        }
    }
}
