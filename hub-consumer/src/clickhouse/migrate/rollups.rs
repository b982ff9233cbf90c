//! Rollups of rows that were stored before there were any.
//!
//! A query over old parts is right without: the server reads their rows and works the columns out. It is only slower.

use std::time::Duration;

use super::{MigrateError, Migrator};
use crate::clickhouse::client::{literal, quoted};

/// Between two looks at how far the server is.
const LOOK: Duration = Duration::from_secs(1);

/// What a part lacks that is older than the rollup, in the order in which one needs the other.
const MISSING: [&str; 4] = [
    "MATERIALIZE COLUMN menu_status",
    "MATERIALIZE COLUMN menu_route",
    "MATERIALIZE COLUMN menu_item",
    "MATERIALIZE PROJECTION menu_minutes",
];

impl Migrator {
    /// Gives the parts of the logs table that are older than its rollup theirs, and waits until they have it. `progress` hears how
    /// many parts are still to be done.
    ///
    /// # Errors
    /// The server refuses, or stops with an error; what is done stays done, and doing it again goes on.
    pub async fn rebuild_rollups(&self, mut progress: impl FnMut(u64)) -> Result<(), MigrateError> {
        let table = format!("{}.{}", quoted(&self.database), quoted(&self.logs_table));
        for step in MISSING {
            self.prepare(&format!("ALTER TABLE {table} {} {step}", self.on_cluster())).await?;
        }
        let question = format!(
            "SELECT sum(parts_to_do), maxIf(latest_fail_reason, latest_fail_reason != '') FROM system.mutations \
             WHERE database = {} AND table = {} AND NOT is_done AND command LIKE '%MATERIALIZE%menu_%' FORMAT TSVRaw",
            literal(&self.database),
            literal(&self.logs_table)
        );
        loop {
            let answer = self.client.query(&question, &[]).await.map_err(MigrateError::State)?;
            let (parts, failure) = answer.trim_end_matches('\n').split_once('\t').unwrap_or_default();
            if !failure.is_empty() {
                return Err(MigrateError::Rebuild { reason: failure.to_owned() });
            }
            let parts = parts.parse().unwrap_or(0);
            progress(parts);
            if parts == 0 {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
