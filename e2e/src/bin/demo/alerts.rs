//! Alerts of the demo: the shipped rules in Mimir's own ruler, its Alertmanager, and a webhook that keeps what it delivers.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use devstack::Stack;
use e2e::Line;
use e2e::pages::{Page, Pages, RULES, Status};

/// The alert that one failed list in ten has to fire.
pub(crate) const EXPECTED: &str = "MenuAvailabilityBurnFast";

/// How long that may take from the first failure on.
const PATIENCE: Duration = Duration::from_secs(300);

/// Has Mimir evaluate the rules for the demo's tenant. `false` when Mimir is the user's own, whose rules are not ours to change.
pub(crate) fn load(stack: &Stack, tenant: &str) -> Result<bool> {
    if stack.mimir().pid().is_none() {
        println!("Mimir is your own, so its rules are left alone and nothing is paged\n");
        return Ok(false);
    }
    for (name, yaml) in RULES {
        stack.put_mimir_rules(tenant, name, yaml).with_context(|| format!("give Mimir the rules {name}"))?;
    }
    Ok(true)
}

/// What is pending and firing now, by Mimir's ruler.
pub(crate) async fn listing(line: &Line) -> Result<String> {
    let mut text = String::from("alerts, by the shipped rules:\n");
    let alerts = line.mimir().alerts().await?;
    let mut shown = 0;
    for alert in alerts.iter().filter(|alert| alert.labels["alertname"] != "Watchdog") {
        let label = |name: &str| alert.labels.get(name).map_or("", String::as_str);
        let summary = alert.annotations.get("summary").map_or("", String::as_str);
        let _ = writeln!(
            text,
            "  {:<8} {:<7} {:<26} {summary}",
            alert.state,
            label("severity"),
            label("alertname")
        );
        shown += 1;
    }
    if shown == 0 {
        text.push_str("  none is pending or firing yet\n");
    }
    Ok(text)
}

/// Waits for the page of the failures and shows it as it was delivered.
pub(crate) async fn wait_for_page(pages: &Pages, since: Instant) -> Result<String> {
    let patience = PATIENCE.saturating_sub(since.elapsed());
    let is_it = |page: &Page| page.alert == EXPECTED && page.status == Status::Firing;
    let page = pages.wait_for(patience, is_it).await.context("wait for the page of the failed menus")?;
    let mut text = format!(
        "paged {} s after the traffic began: {}\n",
        since.elapsed().as_secs(),
        page.annotations.get("summary").map_or(EXPECTED, String::as_str)
    );
    for name in ["description", "runbook_url"] {
        if let Some(value) = page.annotations.get(name) {
            let _ = writeln!(text, "  {name}: {value}");
        }
    }
    Ok(text)
}
