//! One block, one insert: the whole block in one request with its length known, one part per day it touches, and a token by
//! which the server recognises it when it comes again.
//!
//! No server default is relied on, because several of those that matter changed within a year: every setting is stated,
//! newer ones only to servers that know them, since an unknown setting is an error.

use std::collections::HashSet;
use std::time::Duration;

use service_runtime::http_client::HttpClientError;

use super::ClickHouseConfig;
use super::client::{Client, QueryError, quoted};
use super::columns::{Column, ColumnSet, Need};
use super::compression::{Body, Compression};
use super::errors::InsertError;
use super::safety::{self, Unsafe};

/// Above any block we send: the server must neither split a block (two parts, two tokens) nor wait for more.
const WHOLE_BLOCK: &str = "1000000000";

/// What every insert states, as far as the server knows the setting.
const SETTINGS: [(&str, &str); 12] = [
    // The answer must mean "stored", not "queued".
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_insert", "enable"),
    // A view's table gets its rows once, too.
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("max_insert_block_size", WHOLE_BLOCK),
    ("max_insert_block_size_rows", WHOLE_BLOCK),
    ("max_insert_block_size_bytes", "0"),
    ("min_insert_block_size_rows", WHOLE_BLOCK),
    ("min_insert_block_size_bytes", "0"),
    ("use_strict_insert_block_limits", "0"),
    // Late data may touch more than a hundred days.
    ("max_partitions_per_insert_block", "0"),
    // A body that breaks off must not be taken for its end.
    ("input_format_connection_handling", "0"),
];

/// Without these a server cannot store a block exactly once, and is refused.
const REQUIRED_SETTINGS: [&str; 2] = ["insert_deduplicate", "insert_deduplication_token"];

/// Inserts blocks into the tables of one database. Clones share connections.
#[derive(Clone, Debug)]
pub struct InsertClient {
    client: Client,
    database: String,
    compression: Compression,
    timeout: Duration,
    quorum: Option<String>,
}

/// A table as it was found: which columns it takes and which settings its server knows.
#[derive(Clone, Debug)]
pub struct Target {
    columns: ColumnSet,
    not_stored: Vec<&'static str>,
    sql: String,
    settings: Vec<(&'static str, String)>,
}

/// A table that cannot be inserted into, or not yet.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The server was not asked or did not answer as hoped.
    #[error("cannot look at table `{table}`")]
    Query {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: QueryError,
    },
    /// The table lacks columns without which data or its provenance would be lost.
    #[error("table `{table}` has no column {}; run `hub-consumer migrate`", columns.join(", "))]
    MissingColumns {
        /// The table.
        table: String,
        /// The columns.
        columns: Vec<&'static str>,
    },
    /// The server does not know a setting that exactly-once inserts need.
    #[error("the ClickHouse server is too old: it does not know the setting `{setting}`")]
    ServerTooOld {
        /// The setting.
        setting: &'static str,
    },
    /// The table, or the server, may store a block twice.
    #[error(transparent)]
    Unsafe(#[from] Unsafe),
}

impl InsertClient {
    /// A client for the configured server; nothing is connected yet.
    ///
    /// # Errors
    /// When the TLS files cannot be read or used.
    pub fn new(config: &ClickHouseConfig) -> Result<InsertClient, HttpClientError> {
        Ok(InsertClient {
            client: Client::new(&config.http)?,
            database: config.database.clone(),
            compression: config.compression,
            timeout: config.insert_timeout,
            quorum: config.insert_quorum.clone(),
        })
    }

    /// How blocks are to be compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// A table of ours as it stands in SQL.
    pub fn qualified(&self, table: &str) -> String {
        format!("{}.{}", quoted(&self.database), quoted(table))
    }

    /// Asks for what was inserted, and sees all that was confirmed.
    ///
    /// # Errors
    /// When the query does not run to its end.
    pub async fn read(&self, sql: &str, parameters: &[(&str, &str)]) -> Result<String, QueryError> {
        let mut parameters = parameters.to_vec();
        if self.quorum.is_some() {
            parameters.push(("select_sequential_consistency", "1"));
        }
        self.client.query_within(sql, &parameters, self.timeout).await
    }

    /// For queries beside the inserts.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Looks at a table that blocks of `columns` go into. To be done before the first insert, and again after an
    /// [`InsertError::Schema`], when an operator may have changed it.
    ///
    /// # Errors
    /// When the server cannot be asked, or the table cannot take the blocks.
    pub async fn open(&self, table: &str, columns: &'static [Column]) -> Result<Target, OpenError> {
        let failed = |source| OpenError::Query { table: table.to_owned(), source };
        let known_settings = self.known_settings().await.map_err(failed)?;
        for setting in REQUIRED_SETTINGS {
            if !known_settings.contains(setting) {
                return Err(OpenError::ServerTooOld { setting });
            }
        }
        let qualified = self.qualified(table);
        let described =
            self.client.query(&format!("DESC TABLE {qualified} FORMAT TSV"), &[]).await.map_err(failed)?;
        let present: HashSet<&str> = described.lines().filter_map(|line| line.split('\t').next()).collect();

        let chosen = ColumnSet::choose(columns, |column| present.contains(column.name));
        let absent = columns.iter().filter(|column| !present.contains(column.name));
        let (required, optional): (Vec<&Column>, Vec<&Column>) =
            absent.partition(|column| column.need == Need::Required);
        if !required.is_empty() {
            let columns = required.iter().map(|column| column.name).collect();
            return Err(OpenError::MissingColumns { table: table.to_owned(), columns });
        }
        let names: Vec<String> = chosen.of(columns).map(|column| quoted(column.name)).collect();
        Ok(Target {
            columns: chosen,
            not_stored: optional.iter().map(|column| column.name).collect(),
            sql: format!("INSERT INTO {qualified} ({}) FORMAT Native", names.join(", ")),
            settings: self.settings(&known_settings),
        })
    }

    /// Whether a table stores once what is sent twice; to be asked beside [`InsertClient::open`].
    ///
    /// # Errors
    /// When the server cannot be asked, or the table does not.
    pub async fn check(&self, table: &str) -> Result<(), OpenError> {
        let checked = safety::check(&self.client, &self.database, table).await;
        checked.map_err(|source| OpenError::Query { table: table.to_owned(), source })??;
        Ok(())
    }

    /// Proves on a table of its own that the server drops an insert whose token it knows. To be done once, at the start.
    ///
    /// # Errors
    /// When the server cannot be asked, or does not drop it.
    pub async fn prove_deduplication(&self, target: &Target) -> Result<(), OpenError> {
        let proven = safety::prove(&self.client, &self.database, &target.settings).await;
        proven.map_err(|source| OpenError::Query { table: "of the probe".to_owned(), source })??;
        Ok(())
    }

    /// Inserts a block that was encoded for `target`. The same token must never go with other rows: the server would drop them
    /// and say that all is well.
    ///
    /// # Errors
    /// When the server has not confirmed the insert; the error says what to do with the block.
    pub async fn insert(&self, target: &Target, body: &Body, token: &str) -> Result<(), InsertError> {
        let mut parameters: Vec<(&str, &str)> =
            target.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        parameters.extend([("insert_deduplication_token", token), ("log_comment", token)]);
        // The server gives up first, so that its answer and not our own timeout says what happened.
        let patience = self.timeout + Duration::from_secs(5);
        let Body { bytes, content_encoding } = body.clone();
        self.client.send_data(&target.sql, &parameters, bytes, content_encoding, patience).await?;
        Ok(())
    }

    async fn known_settings(&self) -> Result<HashSet<String>, QueryError> {
        let names = SETTINGS.iter().map(|(name, _)| *name).chain(REQUIRED_SETTINGS);
        let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
        let sql = format!("SELECT name FROM system.settings WHERE name IN ({}) FORMAT TSV", names.join(", "));
        Ok(self.client.query(&sql, &[]).await?.lines().map(str::to_owned).collect())
    }

    fn settings(&self, known: &HashSet<String>) -> Vec<(&'static str, String)> {
        let stated = SETTINGS.iter().filter(|(name, _)| known.contains(*name));
        let mut settings: Vec<_> = stated.map(|(name, value)| (*name, (*value).to_owned())).collect();
        settings.push(("max_execution_time", self.timeout.as_secs().max(1).to_string()));
        if let Some(quorum) = &self.quorum {
            settings.push(("insert_quorum", quorum.clone()));
        }
        settings
    }
}

impl Target {
    /// The columns to encode.
    pub fn columns(&self) -> ColumnSet {
        self.columns
    }

    /// Columns that the table does not have and whose values are therefore not stored; worth a warning.
    pub fn not_stored(&self) -> &[&'static str] {
        &self.not_stored
    }
}

impl OpenError {
    /// Whether nothing will change until an operator acts.
    pub fn needs_operator(&self) -> bool {
        match self {
            OpenError::MissingColumns { .. } | OpenError::ServerTooOld { .. } | OpenError::Unsafe(_) => true,
            // No such table or database, credentials, privileges.
            OpenError::Query { source, .. } => {
                matches!(source.code(), Some(60 | 81 | 164 | 192 | 193 | 194 | 492 | 497 | 516))
            }
        }
    }
}
