//! Every query of every dashboard, asked of real stores that the real line has filled, gives what a calculator gives that reads
//! only what was printed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use devstack::{Endpoints, Link, Part, Proxy, Stack, StackOptions};
use e2e::Line;
use e2e::boards::{
    CALM, OTHER, Stage, StageOptions, calm_lines, environment, exported, hostile_item, node, other_lines,
};
use tempfile::TempDir;

use crate::{assert_no_errors, servers, unique};

/// Requests a second; two debug builds and three servers share two cores with it.
const RATE: u32 = 60;
const ORDINARY: Duration = Duration::from_secs(16);
const HOSTILE: Duration = Duration::from_secs(4);
/// The logs that are written by hand begin so long ago.
const BEFORE: Duration = Duration::from_secs(10 * 60);

/// What programs export, as tests of boards, rules and documents have it: a name and its type on each line.
const LISTED: &str = include_str!("../../../boards/test/exported-metrics.txt");
/// What of it is told only when something goes wrong, or has to wait: such a metric is at least registered under its name.
const SILENT: [&str; 22] = [
    "edge_filelog_dropped_records_total",
    "edge_publisher_dead_lettered_items_total",
    "edge_publisher_kept_items_total",
    "edge_publisher_refused_items_total",
    "edge_publisher_returned_records_total",
    "edge_readback_found_records_total",
    "edge_receiver_connections_closed_total",
    "edge_receiver_refused_total",
    "edge_receiver_unrecognized_total",
    "edge_spool_appended_bytes_total",
    "edge_spool_disk_errors_total",
    "edge_spool_group_frames",
    "edge_spool_sync_seconds",
    "hub_commit_failures_total",
    "hub_dead_lettered_total",
    "hub_insert_retries_total",
    "hub_intent_mismatches_total",
    "hub_items_dropped_total",
    "hub_items_rejected_total",
    "hub_offset_out_of_range_records",
    "hub_records_lost_total",
    "hub_records_redelivered_total",
];

/// Beginnings of the names that programs of the order flow export, which this line does not have.
const ORDERS: [&str; 6] = ["broker_", "canary_", "gateway_", "order_", "orders_", "service_"];

/// Whether this line may say nothing of a listed metric.
fn may_be_silent(name: &str) -> bool {
    SILENT.contains(&name) || ORDERS.iter().any(|beginning| name.starts_with(beginning))
}

/// What is exported and not listed, and what is listed and neither exported nor silent.
async fn names(line: &Line) -> (Vec<String>, Vec<String>) {
    let exported = exported(line).await.unwrap();
    let listed: BTreeSet<_> = LISTED.lines().map(str::to_owned).collect();
    let is_told = |line: &&String| line.split(' ').next().is_some_and(|name| !may_be_silent(name));
    let silent = listed.difference(&exported).filter(is_told);
    (exported.difference(&listed).cloned().collect(), silent.cloned().collect())
}

#[test]
fn what_is_silent_is_registered_by_its_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sources: String = ["edge-forwarder/src", "hub-consumer/src", "mock-service/src", "e2e/src"]
        .map(|folder| text_of(&root.join(folder)))
        .concat();
    let names = LISTED.lines().filter_map(|line| line.split(' ').next());
    let missing: Vec<_> =
        names.filter(|name| may_be_silent(name) && !is_registered(&sources, name)).collect();
    assert_eq!(missing, [""; 0]);
    assert!(!is_registered(&sources, "hub_never_heard_of_total"));
}

/// Whether a program registers the metric: with or without the end that its kind gives it, and the unit.
fn is_registered(sources: &str, full: &str) -> bool {
    let name = full.strip_suffix("_total").unwrap_or(full);
    let without_unit = ["_seconds", "_bytes", "_ratio"].into_iter().find_map(|unit| name.strip_suffix(unit));
    [Some(full), Some(name), without_unit]
        .into_iter()
        .flatten()
        .any(|name| sources.contains(&format!("\"{name}\"")))
}

/// Every source file below a folder.
fn text_of(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        text += &if path.is_dir() { text_of(&path) } else { std::fs::read_to_string(&path).unwrap() };
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_shows_what_was_printed() {
    // The line's own Mimir: rules can only be given to one that is ours.
    let up = || Stack::up(StackOptions::own(&[Part::Mimir]));
    let mimir = tokio::task::spawn_blocking(up).await.unwrap().unwrap();
    let endpoints = Endpoints { mimir_url: mimir.endpoints().mimir_url.clone(), ..servers().await.clone() };
    // The edge's own metrics do not reach Mimir before it has counted most of the scene, as on a machine that starts slowly.
    let mimir_at = endpoints.mimir_url.trim_start_matches("http://").parse().unwrap();
    let way = Proxy::to(mimir_at).unwrap();
    way.set(Link::Cut);
    let directory = TempDir::new().unwrap();
    let options = StageOptions {
        name: unique("boards"),
        directory: directory.path().to_path_buf(),
        failure_rate: 0.1,
        before: BEFORE,
        more_items: vec![hostile_item()],
        edge_metrics_url: Some(format!("http://{}", way.address())),
    };
    let mut stage = Stage::set(&endpoints, &mimir, &options).await.unwrap();
    let begins_at = stage.begins_at().unwrap();
    stage.write_log(OTHER, other_lines(begins_at), true).unwrap();
    stage.write_log(CALM, calm_lines(begins_at), false).unwrap();
    stage.mark("the scene of the boards").await.unwrap();
    stage.drive("normal", RATE, ORDINARY).await.unwrap();
    way.set(Link::Open);
    stage.drive("hostile-ids", RATE, HOSTILE).await.unwrap();
    let (line, mut facts) = stage.settle().await.unwrap();
    facts.add_yesterday(&line, &["1", "2"]).await.unwrap();

    let file = directory.path().join("facts.json");
    std::fs::write(&file, serde_json::to_vec(&facts).unwrap()).unwrap();
    let env = environment(&endpoints, &options.name, &file);
    let differing = names(&line).await;
    let printed = node(&["--test", "test/stores.test.ts"], &env)
        .await
        .unwrap_or_else(|error| panic!("{differing:?}\n{error:#}"));
    // A test that was skipped, or a file without tests, is no failure for Node.js.
    let passed = printed.lines().find_map(|line| line.strip_prefix("# pass ")?.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed > 80) && printed.contains("# skipped 0"), "{printed}");
    assert_eq!(
        differing,
        (vec![], vec![]),
        "what is exported and not in boards/test/exported-metrics.txt, and the other way"
    );
    // A reader in front of the preview sees the same numbers.
    let printed =
        node(&["--test", "test/live.test.ts"], &env).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(printed.contains("# pass 1") && printed.contains("# skipped 0"), "{printed}");
    assert_no_errors(line.hub.as_ref().unwrap().log());
    assert_no_errors(line.edge.as_ref().unwrap().log());
}
