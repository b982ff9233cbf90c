//! The schema on a real server: once, in turns, and never over a newer one.

use std::time::Duration;

use hub_consumer::clickhouse::migrate::MigrateError;
use hub_consumer::clickhouse::migrate::lock::{Lock, LockError, Patience, SCHEMA};

use crate::database::Database;

const TABLES: &str = "incident_marks\nmenu\nmenu_items\nmenu_requests\norder_outcomes\notel_logs\notel_traces\notel_traces_trace_id_ts\notel_traces_trace_id_ts_mv\nschema_migrations\n";

async fn tables(database: &Database) -> String {
    let sql = "SELECT name FROM system.tables WHERE database = '{db}' ORDER BY name FORMAT TSV";
    database.query(sql).await
}

async fn applied(database: &Database) -> String {
    database.query("SELECT version, count() FROM {db}.schema_migrations GROUP BY version ORDER BY version FORMAT TSV").await
}

#[tokio::test]
async fn migrating_twice_does_nothing_the_second_time() {
    let database = Database::unused();
    let first = database.migrator().apply().await.unwrap();
    assert_eq!(first.steps.iter().map(|step| step.version).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(tables(&database).await, TABLES);
    assert!(database.migrator().apply().await.unwrap().steps.is_empty());
    assert_eq!(applied(&database).await, "1\t1\n2\t1\n3\t1\n4\t1\n5\t1\n6\t1\n7\t1\n8\t1\n");
    database.drop().await;
}

#[tokio::test]
async fn two_at_once_take_turns_and_apply_every_step_once() {
    let database = Database::unused();
    let migrators = [database.migrator(), database.migrator(), database.migrator()];
    let [a, b, c] = &migrators;
    let (a, b, c) = tokio::join!(a.apply(), b.apply(), c.apply());
    let steps: usize = [a, b, c].into_iter().map(|plan| plan.unwrap().steps.len()).sum();
    assert_eq!(steps, 8);
    assert_eq!(applied(&database).await, "1\t1\n2\t1\n3\t1\n4\t1\n5\t1\n6\t1\n7\t1\n8\t1\n");
    assert_eq!(tables(&database).await, TABLES);
    database.drop().await;
}

#[tokio::test]
async fn a_plan_changes_nothing_and_shows_the_sql() {
    let database = Database::unused();
    let plan = database.migrator().plan().await.unwrap();
    let printed = plan.to_string();
    assert!(
        printed.contains(&format!("CREATE TABLE IF NOT EXISTS `{}`.otel_logs", database.config.database)),
        "{printed}"
    );
    for placeholder in ["{database", "{logs_table", "{on_cluster", "{engine", "{dictionary", "{{"] {
        assert!(!printed.contains(placeholder), "{printed}");
    }
    let exists = database.query("SELECT count() FROM system.databases WHERE name = '{db}'").await;
    assert_eq!(exists.trim(), "0");
}

#[tokio::test]
async fn a_schema_newer_than_this_program_is_refused() {
    let database = Database::migrated().await;
    database
        .query("INSERT INTO {db}.schema_migrations (version, name, checksum) VALUES (9, 'future', 'x')")
        .await;
    let refused = database.migrator().apply().await.unwrap_err();
    assert!(matches!(refused, MigrateError::Newer { found: 9, known: 8 }), "{refused:?}");
    database.drop().await;
}

#[tokio::test]
async fn a_step_applied_with_another_text_is_refused() {
    let database = Database::migrated().await;
    database
        .query("ALTER TABLE {db}.schema_migrations DELETE WHERE version = 2 SETTINGS mutations_sync = 2")
        .await;
    database
        .query("INSERT INTO {db}.schema_migrations (version, name, checksum) VALUES (2, 'traces', 'x')")
        .await;
    let refused = database.migrator().apply().await.unwrap_err();
    assert!(matches!(refused, MigrateError::Changed { version: 2, .. }), "{refused:?}");
    database.drop().await;
}

#[tokio::test]
async fn a_step_that_failed_half_way_runs_again() {
    let database = Database::empty().await;
    // The view cannot be made over a table that lacks its columns.
    database.query("CREATE TABLE {db}.otel_traces (x UInt8) ENGINE = MergeTree ORDER BY x").await;
    let failed = database.migrator().apply().await.unwrap_err();
    assert!(matches!(failed, MigrateError::Step { version: 3, .. }), "{failed:?}");
    assert_eq!(applied(&database).await, "1\t1\n2\t1\n");
    database.query("DROP TABLE {db}.otel_traces SYNC").await;
    database
        .query("ALTER TABLE {db}.schema_migrations DELETE WHERE version = 2 SETTINGS mutations_sync = 2")
        .await;
    database.migrator().apply().await.unwrap();
    assert_eq!(tables(&database).await, TABLES);
    database.drop().await;
}

#[tokio::test]
async fn parts_move_to_the_cold_volume_when_the_policy_has_one() {
    let policies = Database::unused()
        .query(
            "SELECT DISTINCT policy_name FROM system.storage_policies WHERE volume_name = 'cold' FORMAT TSV",
        )
        .await;
    let policy = policies.lines().next().expect("devstack's server has a policy with a cold volume");
    let mut database = Database::unused();
    database.config.schema.storage_policy = Some(policy.to_owned());
    database.migrator().apply().await.unwrap();
    let engine = database.query("SELECT engine_full FROM system.tables WHERE database = '{db}' AND name = 'otel_logs' FORMAT TSVRaw").await;
    assert!(engine.contains("TO VOLUME 'cold'") && engine.contains("toIntervalDay(7300)"), "{engine}");
    assert!(engine.contains("non_replicated_deduplication_window = 1000000"), "{engine}");
    database.drop().await;

    let database = Database::migrated().await;
    let engine = database.query("SELECT engine_full FROM system.tables WHERE database = '{db}' AND name = 'otel_logs' FORMAT TSVRaw").await;
    assert!(!engine.contains("TO VOLUME") && engine.contains("toIntervalDay(7300)"), "{engine}");
    database.drop().await;
}

#[tokio::test]
async fn a_policy_the_server_does_not_have_is_named() {
    let mut database = Database::unused();
    database.config.schema.storage_policy = Some("moon".to_owned());
    let refused = database.migrator().apply().await.unwrap_err();
    assert!(
        matches!(&refused, MigrateError::UnknownStoragePolicy { policy } if policy == "moon"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_time_range_of_a_trace_is_found_by_its_id() {
    let database = Database::migrated().await;
    for (first, last) in [(10, 20), (5, 7), (5, 7)] {
        let at = |second| format!("(toDateTime64('2026-01-01 00:00:{second:02}.5', 9), 'abc')");
        let rows = format!("{}, {}", at(first), at(last));
        database.query(&format!("INSERT INTO {{db}}.otel_traces (Timestamp, TraceId) VALUES {rows}")).await;
    }
    let range = "SELECT min(Start), max(End) FROM {db}.otel_traces_trace_id_ts WHERE TraceId = 'abc'";
    assert_eq!(database.query(range).await, "2026-01-01 00:00:05\t2026-01-01 00:00:20\n");
    database.drop().await;
}

const NO_PATIENCE: Patience = Patience { stale_after: Duration::from_secs(3600), wait: Duration::ZERO };

async fn acquire(database: &Database, patience: Patience) -> Result<Lock<'_>, LockError> {
    Lock::acquire(&database.client, &database.config.database, "", SCHEMA, patience).await
}

#[tokio::test]
async fn a_lock_in_use_is_waited_for() {
    let database = Database::empty().await;
    let first = acquire(&database, Patience::default()).await.unwrap();
    let mut second = Box::pin(acquire(&database, Patience::default()));
    let many_answers = async {
        for _ in 0..50 {
            database.query("SELECT 1").await;
        }
    };
    tokio::select! {
        taken = &mut second => panic!("two hold the lock: {taken:?}"),
        () = many_answers => {}
    }
    first.check().await.unwrap();
    first.release().await.unwrap();
    second.await.unwrap().release().await.unwrap();
    assert_eq!(tables(&database).await, "");
    database.drop().await;
}

#[tokio::test]
async fn who_holds_the_lock_is_named_when_patience_ends() {
    let database = Database::empty().await;
    let held = acquire(&database, NO_PATIENCE).await.unwrap();
    let refused = acquire(&database, NO_PATIENCE).await.unwrap_err();
    let pid = format!("pid {}", std::process::id());
    assert!(matches!(&refused, LockError::Held { owner, .. } if owner.contains(&pid)), "{refused:?}");
    held.release().await.unwrap();
    database.drop().await;
}

#[tokio::test]
async fn a_stale_lock_is_broken_and_its_holder_notices() {
    let database = Database::empty().await;
    let dead = acquire(&database, NO_PATIENCE).await.unwrap();
    let at_once = Patience { stale_after: Duration::ZERO, wait: Duration::ZERO };
    let taken_over = acquire(&database, at_once).await.unwrap();
    assert!(matches!(dead.check().await, Err(LockError::Lost)));
    assert!(matches!(dead.release().await, Err(LockError::Lost)));
    taken_over.check().await.unwrap();
    taken_over.release().await.unwrap();
    assert_eq!(tables(&database).await, "");
    database.drop().await;
}
