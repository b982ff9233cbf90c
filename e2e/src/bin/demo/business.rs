//! What boards need beside telemetry: the menu, what happened when, and the audit's verdict.

use std::path::Path;

use anyhow::{Context, Result, bail};
use e2e::Line;

/// Writes the Menu API's items into the dimension that boards join.
pub(crate) async fn write_menu(line: &Line, menu_url: &str) -> Result<()> {
    let (code, printed) = line.hub_output("menu", &[&format!("{menu_url}/api/menu")]).await?;
    if code != Some(0) {
        bail!("hub-consumer menu ended with {code:?}: {printed}");
    }
    Ok(())
}

/// Marks the broker's outage on every board. Times are in seconds since the epoch.
pub(crate) async fn mark_outage(line: &Line, began: u64, ended: u64) -> Result<()> {
    let insert = format!(
        "INSERT INTO incident_marks (started_at, ended_at, kind, text) VALUES ({began}, {ended}, 'outage', \
         'the demo stopped the broker; the edge kept everything on its disk')"
    );
    line.clickhouse().query(&insert).await.map(drop).context("mark the outage")
}

/// Audits what was committed, and pushes the verdict to the boards.
pub(crate) async fn audit(line: &Line) -> Result<String> {
    let (code, printed) = line.hub_output("audit", &["--push"]).await?;
    let verdict = match code {
        Some(0) => "everything that was committed is stored, once",
        Some(1) => "records are missing or doubled",
        _ => bail!("hub-consumer audit could not judge: {printed}"),
    };
    Ok(format!("audit: {verdict}"))
}

/// A link to one trace on the board of the service.
pub(crate) async fn failed_trace(line: &Line) -> Result<Option<String>> {
    let newest = "SELECT TraceId FROM otel_traces WHERE ServiceName = 'mock-service' AND SpanKind = 'Server' AND StatusCode = 'Error' \
                  ORDER BY Timestamp DESC LIMIT 1";
    let id = line.clickhouse().query(newest).await.context("look for a failed request")?;
    let id = id.trim();
    Ok((!id.is_empty()).then(|| id.to_owned()))
}

/// Where the project's boards are, from where the demo was built.
pub(crate) fn boards_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../boards"))
}
