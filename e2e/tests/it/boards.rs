//! Every query of every dashboard, asked of real stores that the real line has filled, gives what a calculator gives that reads
//! only what was printed.

use std::time::Duration;

use devstack::{Endpoints, Part, Stack, StackOptions};
use e2e::boards::{
    CALM, OTHER, Stage, StageOptions, calm_lines, environment, hostile_item, node, other_lines,
};
use tempfile::TempDir;

use crate::{assert_no_errors, servers, unique};

/// Requests a second; two debug builds and three servers share two cores with it.
const RATE: u32 = 60;
const ORDINARY: Duration = Duration::from_secs(16);
const HOSTILE: Duration = Duration::from_secs(4);
/// The logs that are written by hand begin so long ago.
const BEFORE: Duration = Duration::from_secs(10 * 60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_shows_what_was_printed() {
    // The line's own Mimir: rules can only be given to one that is ours.
    let up = || Stack::up(StackOptions::own(&[Part::Mimir]));
    let mimir = tokio::task::spawn_blocking(up).await.unwrap().unwrap();
    let endpoints = Endpoints { mimir_url: mimir.endpoints().mimir_url.clone(), ..servers().await.clone() };
    let directory = TempDir::new().unwrap();
    let options = StageOptions {
        name: unique("boards"),
        directory: directory.path().to_path_buf(),
        failure_rate: 0.1,
        before: BEFORE,
        more_items: vec![hostile_item()],
    };
    let mut stage = Stage::set(&endpoints, &mimir, &options).await.unwrap();
    let begins_at = stage.begins_at().unwrap();
    stage.write_log(OTHER, other_lines(begins_at), true).unwrap();
    stage.write_log(CALM, calm_lines(begins_at), false).unwrap();
    stage.mark("the scene of the boards").await.unwrap();
    stage.drive("normal", RATE, ORDINARY).await.unwrap();
    stage.drive("hostile-ids", RATE, HOSTILE).await.unwrap();
    let (line, mut facts) = stage.settle().await.unwrap();
    facts.add_yesterday(&line, &["1", "2"]).await.unwrap();

    let file = directory.path().join("facts.json");
    std::fs::write(&file, serde_json::to_vec(&facts).unwrap()).unwrap();
    let env = environment(&endpoints, &options.name, &file);
    let printed =
        node(&["--test", "test/stores.test.ts"], &env).await.unwrap_or_else(|error| panic!("{error:#}"));
    // A test that was skipped, or a file without tests, is no failure for Node.js.
    let passed = printed.lines().find_map(|line| line.strip_prefix("# pass ")?.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed > 80), "{printed}");
    assert_no_errors(line.hub.as_ref().unwrap().log());
    assert_no_errors(line.edge.as_ref().unwrap().log());
}
