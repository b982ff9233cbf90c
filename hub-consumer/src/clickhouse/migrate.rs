//! Brings the tables to the schema this program was built for.
//!
//! The steps are the numbered files of `migrations/`, each applied once, in order, and recorded with a checksum in the table
//! `schema_migrations`. A database that knows a step we do not, or another text of a step we do, is refused: an older program
//! must not work on a schema it cannot judge. ClickHouse has no transactions, so a step that failed half-way runs again from its
//! beginning; all statements are written for that.
//!
//! Two programs that start at the same time take turns by a lock ([`lock`]). Nothing depends on it for correctness: were it ever
//! broken, both would run the same repeatable statements.

pub mod lock;
mod rollups;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use service_runtime::http_client::{HttpAuth, HttpClientError};
use service_runtime::settings::choice;
use service_runtime::{Secret, Section, Setting};
use xxhash_rust::xxh3::xxh3_128;

use super::ClickHouseConfig;
use super::client::{Client, QueryError, literal, quoted};
use lock::{Lock, LockError, Patience, SCHEMA};

/// The steps, oldest first.
const MIGRATIONS: [Migration; 8] = [
    Migration { version: 1, name: "logs", sql: include_str!("../../migrations/0001_logs.sql") },
    Migration { version: 2, name: "traces", sql: include_str!("../../migrations/0002_traces.sql") },
    Migration { version: 3, name: "trace_id_ts", sql: include_str!("../../migrations/0003_trace_id_ts.sql") },
    Migration { version: 4, name: "counting", sql: include_str!("../../migrations/0004_counting.sql") },
    Migration { version: 5, name: "received_at", sql: include_str!("../../migrations/0005_received_at.sql") },
    Migration { version: 6, name: "menu", sql: include_str!("../../migrations/0006_menu.sql") },
    Migration {
        version: 7,
        name: "incident_marks",
        sql: include_str!("../../migrations/0007_incident_marks.sql"),
    },
    Migration {
        version: 8,
        name: "order_outcomes",
        sql: include_str!("../../migrations/0008_order_outcomes.sql"),
    },
];

/// A DDL statement on a cluster waits for every replica.
const DDL_TIMEOUT: (&str, &str) = ("distributed_ddl_task_timeout", "180");

#[derive(Clone, Copy, Debug)]
struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

/// How the tables are made. Changing it later changes no table that exists.
#[derive(Clone, Debug)]
pub struct SchemaConfig {
    /// Plain or replicated tables.
    pub engine: Engine,
    /// The cluster on which every statement runs; `None` for a single server.
    pub cluster: Option<String>,
    /// Path of a replicated table in Keeper; the server fills in its macros.
    pub replica_path: String,
    /// Name of a replica of a table; the server fills in its macros.
    pub replica_name: String,
    /// Storage policy of the tables; `None` is the server's default.
    pub storage_policy: Option<String>,
    /// The volume that old parts move to, when the policy has it.
    pub cold_volume: String,
    /// Days after which parts move to the cold volume.
    pub hot_days: NonZeroU32,
    /// Days after which rows are deleted.
    pub retention_days: NonZeroU32,
}

impl SchemaConfig {
    /// The clause by which a statement runs on every server of the cluster; empty for a single one.
    pub(crate) fn on_cluster(&self) -> String {
        self.cluster.as_ref().map_or_else(String::new, |cluster| format!("ON CLUSTER {}", quoted(cluster)))
    }
}

/// Which family of table engines is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// One copy, on one server.
    MergeTree,
    /// As many copies as there are replicas.
    ReplicatedMergeTree,
}

/// Applies the schema to one database.
#[derive(Debug)]
pub struct Migrator {
    client: Client,
    database: String,
    logs_table: String,
    traces_table: String,
    auth: HttpAuth,
    schema: SchemaConfig,
}

/// What is still to be done. Its `Display` is the SQL, the password of a dictionary's source left out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What must not be shown of the statements.
    hidden: Option<Secret>,
}

/// One step with its placeholders filled in.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number.
    pub version: u32,
    /// Its name.
    pub name: &'static str,
    /// Its statements, in order.
    pub statements: Vec<String>,
    checksum: String,
}

/// The schema was not applied, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The server cannot be asked what it has.
    #[error("cannot read the schema's state")]
    State(#[source] QueryError),
    /// A statement failed; the steps before it are done.
    #[error("migration {version} ({name}) failed")]
    Step {
        /// Its number.
        version: u32,
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: QueryError,
    },
    /// A newer program was here.
    #[error(
        "the schema is at version {found} and this program knows versions up to {known}; use a newer hub-consumer"
    )]
    Newer {
        /// The highest version applied.
        found: u32,
        /// The highest version known.
        known: u32,
    },
    /// A step was applied with another text.
    #[error("migration {version} ({name}) was applied with another text; applied files must not change")]
    Changed {
        /// Its number.
        version: u32,
        /// Its name.
        name: &'static str,
    },
    /// The configured policy does not exist.
    #[error(
        "the server has no storage policy `{policy}`; set clickhouse.schema.storage_policy to one it has"
    )]
    UnknownStoragePolicy {
        /// The policy.
        policy: String,
    },
    /// The server could not give old parts their rollup.
    #[error("the server cannot rebuild a rollup: {reason}")]
    Rebuild {
        /// What it says.
        reason: String,
    },
    /// The lock cannot be had, or was lost.
    #[error("cannot hold the migration lock")]
    Lock(#[source] LockError),
}

impl SchemaConfig {
    /// Reads the section.
    pub fn read(section: &mut Section<'_>) -> SchemaConfig {
        let days = |days| NonZeroU32::new(days).expect("not zero");
        SchemaConfig {
            engine: section.value(
                "engine",
                Engine::MergeTree,
                "Table engine: `MergeTree`, or `ReplicatedMergeTree` on servers with Keeper.",
            ),
            cluster: section.optional("cluster", "Cluster on which the tables are made (`ON CLUSTER`)."),
            replica_path: section.value(
                "replica_path",
                "/clickhouse/tables/{shard}/{database}/{table}".to_owned(),
                "Path of a replicated table in Keeper; the server fills in its macros.",
            ),
            replica_name: section.value(
                "replica_name",
                "{replica}".to_owned(),
                "Name of a replica of a table; the server fills in its macros.",
            ),
            storage_policy: section
                .optional("storage_policy", "Storage policy of the tables. Default: the server's."),
            cold_volume: section.value(
                "cold_volume",
                "cold".to_owned(),
                "Volume that old parts move to. When the storage policy has no such volume, nothing moves.",
            ),
            hot_days: section.value("hot_days", days(7), "Days after which parts move to the cold volume."),
            retention_days: section.value("retention_days", days(365), "Days after which rows are deleted."),
        }
    }
}

impl Setting for Engine {
    fn expected() -> String {
        "`MergeTree` or `ReplicatedMergeTree`".to_owned()
    }

    fn from_text(text: &str) -> Result<Engine, String> {
        choice(
            text,
            &[("MergeTree", Engine::MergeTree), ("ReplicatedMergeTree", Engine::ReplicatedMergeTree)],
        )
    }

    fn to_text(&self) -> String {
        match self {
            Engine::MergeTree => "MergeTree",
            Engine::ReplicatedMergeTree => "ReplicatedMergeTree",
        }
        .to_owned()
    }
}

impl Migrator {
    /// A migrator for the configured server; nothing is connected yet.
    ///
    /// # Errors
    /// When the TLS files cannot be read or used.
    pub fn new(config: &ClickHouseConfig) -> Result<Migrator, HttpClientError> {
        Ok(Migrator {
            client: Client::new(&config.http)?,
            database: config.database.clone(),
            logs_table: config.logs_table.clone(),
            traces_table: config.traces_table.clone(),
            auth: config.http.auth().clone(),
            schema: config.schema.clone(),
        })
    }

    /// What [`Migrator::apply`] would do now. Changes nothing.
    ///
    /// # Errors
    /// When the server cannot be asked, or its schema is not one we may change.
    pub async fn plan(&self) -> Result<Plan, MigrateError> {
        let applied = self.applied().await?;
        let known = MIGRATIONS[MIGRATIONS.len() - 1].version;
        if let Some((&found, _)) = applied.last_key_value().filter(|(found, _)| **found > known) {
            return Err(MigrateError::Newer { found, known });
        }
        let values = self.values().await?;
        let mut steps = Vec::new();
        for Migration { version, name, sql } in MIGRATIONS {
            let checksum = checksum(sql);
            match applied.get(&version) {
                Some(recorded) if *recorded == checksum => {}
                Some(_) => return Err(MigrateError::Changed { version, name }),
                None => steps.push(Step {
                    version,
                    name,
                    statements: template::statements(sql, &values),
                    checksum,
                }),
            }
        }
        Ok(Plan { steps, hidden: self.password().cloned() })
    }

    /// Applies every step that is missing and returns them.
    ///
    /// # Errors
    /// When it could not be done to its end; doing it again continues where it stopped.
    pub async fn apply(&self) -> Result<Plan, MigrateError> {
        if self.plan().await?.steps.is_empty() {
            return Ok(Plan { steps: Vec::new(), hidden: None });
        }
        let database = quoted(&self.database);
        let on_cluster = self.on_cluster();
        self.prepare(&format!("CREATE DATABASE IF NOT EXISTS {database} {on_cluster}")).await?;
        let lock =
            Lock::acquire(&self.client, &self.database, &on_cluster, SCHEMA, Patience::default()).await;
        let lock = lock.map_err(MigrateError::Lock)?;
        let applied = self.apply_locked(&lock).await;
        let released = lock.release().await.map_err(MigrateError::Lock);
        let applied = applied?;
        released?;
        Ok(applied)
    }

    async fn apply_locked(&self, lock: &Lock<'_>) -> Result<Plan, MigrateError> {
        self.prepare(&self.create_state_table()).await?;
        // Somebody may have been faster while we waited for the lock.
        let plan = self.plan().await?;
        for step in &plan.steps {
            lock.check().await.map_err(MigrateError::Lock)?;
            let failed = |source| MigrateError::Step { version: step.version, name: step.name, source };
            for statement in &step.statements {
                self.client.query(statement, &[DDL_TIMEOUT]).await.map_err(failed)?;
            }
            self.record(step).await.map_err(failed)?;
            tracing::info!(version = step.version, name = step.name, "migration applied");
        }
        Ok(plan)
    }

    async fn prepare(&self, statement: &str) -> Result<(), MigrateError> {
        self.client.query(statement, &[DDL_TIMEOUT]).await.map(drop).map_err(MigrateError::State)
    }

    /// Checksums of the applied steps by version; empty when there is no database yet.
    async fn applied(&self) -> Result<BTreeMap<u32, String>, MigrateError> {
        let sql =
            format!("SELECT version, any(checksum) FROM {} GROUP BY version FORMAT TSV", self.state_table());
        let printed = match self.client.query(&sql, &[]).await {
            Ok(printed) => printed,
            // UNKNOWN_TABLE, UNKNOWN_DATABASE
            Err(error) if matches!(error.code(), Some(60 | 81)) => return Ok(BTreeMap::new()),
            Err(error) => return Err(MigrateError::State(error)),
        };
        let parsed = printed.lines().map(|line| {
            let (version, checksum) = line.split_once('\t')?;
            Some((version.parse().ok()?, checksum.to_owned()))
        });
        let unexpected = || QueryError::Unexpected { status: 200, message: printed.clone() };
        parsed.collect::<Option<_>>().ok_or_else(|| MigrateError::State(unexpected()))
    }

    async fn record(&self, step: &Step) -> Result<(), QueryError> {
        let Step { version, name, checksum, .. } = step;
        let table = self.state_table();
        let sql = format!(
            "INSERT INTO {table} (version, name, checksum) VALUES ({version}, '{name}', '{checksum}')"
        );
        self.client.query(&sql, &[("async_insert", "0")]).await.map(drop)
    }

    fn state_table(&self) -> String {
        format!("{}.schema_migrations", quoted(&self.database))
    }

    fn create_state_table(&self) -> String {
        let engine = match self.schema.engine {
            Engine::MergeTree => "MergeTree".to_owned(),
            // One table for all shards: the schema is the cluster's, not a shard's.
            Engine::ReplicatedMergeTree => format!(
                "ReplicatedMergeTree('/clickhouse/eventline/{}/schema_migrations', '{{shard}}-{{replica}}')",
                self.database
            ),
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {} {} (version UInt32, name String, checksum String, applied_at DateTime DEFAULT now()) \
             ENGINE = {engine} ORDER BY version",
            self.state_table(),
            self.on_cluster()
        )
    }

    fn on_cluster(&self) -> String {
        self.schema.on_cluster()
    }

    async fn values(&self) -> Result<template::Values, MigrateError> {
        let schema = &self.schema;
        let replicated = format!("('{}', '{}')", schema.replica_path, schema.replica_name);
        let (engine, aggregating_engine) = match schema.engine {
            Engine::MergeTree => ("MergeTree".to_owned(), "AggregatingMergeTree".to_owned()),
            Engine::ReplicatedMergeTree => (
                format!("ReplicatedMergeTree{replicated}"),
                format!("ReplicatedAggregatingMergeTree{replicated}"),
            ),
        };
        let move_to_cold = if self.has_cold_volume().await? {
            let (days, volume) = (schema.hot_days, &schema.cold_volume);
            format!("toDateTime(Timestamp) + toIntervalDay({days}) TO VOLUME '{volume}',\n    ")
        } else {
            String::new()
        };
        let storage_policy = schema.storage_policy.as_ref();
        Ok(template::Values {
            database: quoted(&self.database),
            logs_table: self.logs_table.clone(),
            traces_table: self.traces_table.clone(),
            on_cluster: self.on_cluster(),
            engine,
            aggregating_engine,
            move_to_cold,
            retention_days: schema.retention_days.to_string(),
            storage_policy: storage_policy
                .map_or_else(String::new, |name| format!("storage_policy = '{name}',")),
            database_name: self.database.clone(),
            dictionary_user: self.dictionary_user(),
        })
    }

    /// By whom a dictionary asks its own server: by us, or by the server's default user when we have no name.
    fn dictionary_user(&self) -> String {
        let HttpAuth::Basic { username, .. } = &self.auth else { return String::new() };
        let password = self.password().map_or_else(String::new, |password| literal(password.expose()));
        format!("USER {} PASSWORD {}", literal(username), if password.is_empty() { "''" } else { &password })
    }

    fn password(&self) -> Option<&Secret> {
        match &self.auth {
            HttpAuth::Basic { password, .. } => password.as_ref(),
            HttpAuth::None | HttpAuth::Bearer(_) => None,
        }
    }

    async fn has_cold_volume(&self) -> Result<bool, MigrateError> {
        let policy = self.schema.storage_policy.as_deref().unwrap_or("default");
        let sql =
            "SELECT volume_name FROM system.storage_policies WHERE policy_name = {policy:String} FORMAT TSV";
        let volumes =
            self.client.query(sql, &[("param_policy", policy)]).await.map_err(MigrateError::State)?;
        if volumes.is_empty() && self.schema.storage_policy.is_some() {
            return Err(MigrateError::UnknownStoragePolicy { policy: policy.to_owned() });
        }
        Ok(volumes.lines().any(|volume| volume == self.schema.cold_volume))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(out, "-- {:04} {}", step.version, step.name)?;
            for statement in &step.statements {
                match &self.hidden {
                    Some(hidden) => {
                        let shown = statement.replace(&literal(hidden.expose()), "'[HIDDEN]'");
                        writeln!(out, "{shown};\n")?;
                    }
                    None => writeln!(out, "{statement};\n")?,
                }
            }
        }
        Ok(())
    }
}

fn checksum(sql: &str) -> String {
    format!("{:032x}", xxh3_128(sql.as_bytes()))
}
