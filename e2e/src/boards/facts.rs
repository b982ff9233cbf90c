//! What is true of a scene, for a calculator that asks no store.

use serde::Serialize;
use serde_json::Value;

/// The truth of a scene. Times are in milliseconds since the epoch.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// The first millisecond of the scene, at the beginning of a minute.
    pub from: i64,
    /// The moment at which every store had everything: the last push of derived series.
    pub to: i64,
    /// Everything that containers have printed, by service.
    pub services: Vec<Service>,
    /// What `GET /api/menu` answers.
    pub menu: Value,
    /// Rows of item views that were inserted a day before the scene, with SQL: copies of the scene's own, of these items.
    pub yesterday: Vec<String>,
}

/// What a service has printed.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    /// Its name, by which boards choose it.
    pub name: String,
    /// Lines in the order in which they were printed, without their ends.
    pub lines: Vec<String>,
    /// Whether the shipped rules derive series of it.
    pub is_derived: bool,
}
