//! `docs/configuration.md` is what the programs read.

use std::path::Path;

use service_runtime::settings::Reference;

/// Writes the page anew.
const UPDATE: &str = "UPDATE=1 cargo test -p e2e configuration";

#[test]
fn the_configuration_page_is_current() {
    let page = Reference::new(UPDATE)
        .program(&edge_forwarder::SERVICE, edge_forwarder::Config::read)
        .program(&hub_consumer::SERVICE, hub_consumer::config::HubConfig::read)
        .into_markdown();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "docs/configuration.md is not current: run `{UPDATE}`");
}
