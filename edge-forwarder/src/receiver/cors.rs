//! Answers browsers that ask whether a page may send telemetry, and lets the page read the answers.
//!
//! The origin is named in the answer rather than `*`, and credentials are allowed: exporters that use beacons send them, and a
//! browser hides an answer of `*` from those. This receiver reads no cookies, so they give a page nothing.

use axum::http::{HeaderName, HeaderValue, Method, header, request::Parts};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::config::{AllowedHeaders, CorsConfig};

/// What exporters in browsers set; `accept` and others need no permission.
const OTLP_HEADERS: [HeaderName; 3] =
    [header::CONTENT_TYPE, header::CONTENT_ENCODING, HeaderName::from_static("x-requested-with")];

/// The layer around the receiver that does it.
pub(super) fn layer(config: &CorsConfig) -> CorsLayer {
    let origins = config.origins.clone();
    let is_allowed = move |origin: &HeaderValue, _: &Parts| {
        origin.to_str().is_ok_and(|origin| origins.iter().any(|pattern| pattern.matches(origin)))
    };
    let headers = match &config.headers {
        AllowedHeaders::Any => AllowHeaders::mirror_request(),
        AllowedHeaders::Listed(more) => AllowHeaders::list(OTLP_HEADERS.iter().chain(more).cloned()),
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::POST])
        .allow_headers(headers)
        .allow_credentials(true)
        // A refused page has to see when it may try again.
        .expose_headers([header::RETRY_AFTER])
        .max_age(config.max_age)
}
