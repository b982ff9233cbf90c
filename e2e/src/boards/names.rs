//! Every metric that the programs of a line export, under the name that a store has it by.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::Line;
use crate::scrape::Page;

/// What a store appends to the name of a histogram for its parts.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Of edge and hub what their pages have, and of all others what they have pushed: each a name and its type, such as
/// `edge_spool_pending_items gauge`.
///
/// # Errors
/// A program or Mimir does not answer.
pub async fn exported(line: &Line) -> Result<BTreeSet<String>> {
    let client = reqwest::Client::new();
    let mut own = BTreeSet::new();
    for url in [line.edge_admin_url(), line.hub_admin_url()] {
        own.extend(
            Page::read(&client, &url)
                .await?
                .types()
                .map(|(name, kind)| (stored_name(name, kind), kind.to_owned())),
        );
    }
    // The push of own metrics sends the parts of a histogram under names of their own.
    let is_own = |name: &str| {
        let base = PARTS.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        own.iter().any(|(known, _)| known == name || known == base)
    };
    let pushed = line.mimir().types().await?.into_iter().filter(|(name, _)| !is_own(name));
    let pushed: Vec<_> = pushed.collect();
    Ok(own.into_iter().chain(pushed).map(|(name, kind)| format!("{name} {kind}")).collect())
}

/// A page names a counter or an information without the end that its samples have.
fn stored_name(name: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    }
}
