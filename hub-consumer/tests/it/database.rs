//! A ClickHouse database of a test's own, on the server that all tests share.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hub_consumer::clickhouse::ClickHouseConfig;
use hub_consumer::clickhouse::client::{Client, QueryError};
use hub_consumer::clickhouse::compression::Compression;
use hub_consumer::clickhouse::insert::{InsertClient, Target};
use hub_consumer::clickhouse::migrate::{Engine, Migrator, SchemaConfig};
use hub_consumer::decode::{Block, Rows};
use service_runtime::http_client::HttpClientConfig;

/// A database whose name no other test has.
pub(crate) struct Database {
    pub(crate) config: ClickHouseConfig,
    pub(crate) client: Client,
}

impl Database {
    /// A name that is still free on the server; nothing is made there.
    pub(crate) fn unused() -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let url = devstack::shared().clickhouse_url.parse().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let days = |days| NonZeroU32::new(days).unwrap();
        let config = ClickHouseConfig {
            http: HttpClientConfig::plain(url),
            database: format!("it_{}_{number}", std::process::id()),
            logs_table: "otel_logs".to_owned(),
            traces_table: "otel_traces".to_owned(),
            compression: Compression::Lz4,
            insert_timeout: Duration::from_secs(60),
            insert_quorum: None,
            schema: SchemaConfig {
                engine: Engine::MergeTree,
                cluster: None,
                replica_path: "/clickhouse/tables/{shard}/{database}/{table}".to_owned(),
                replica_name: "{replica}".to_owned(),
                storage_policy: None,
                cold_volume: "cold".to_owned(),
                hot_days: days(7),
                // The data is of fixed dates and must not expire whatever day the tests run on.
                retention_days: days(7300),
            },
        };
        let client = Client::new(&config.http).unwrap();
        Database { config, client }
    }

    /// An empty database.
    pub(crate) async fn empty() -> Database {
        let database = Database::unused();
        database.query(&format!("CREATE DATABASE {}", database.config.database)).await;
        database
    }

    /// A database with our tables.
    pub(crate) async fn migrated() -> Database {
        let database = Database::unused();
        database.migrator().apply().await.unwrap();
        database
    }

    pub(crate) fn migrator(&self) -> Migrator {
        Migrator::new(&self.config).unwrap()
    }

    pub(crate) fn inserts(&self) -> InsertClient {
        InsertClient::new(&self.config).unwrap()
    }

    /// Runs a statement in this database, which `{db}` names in it.
    pub(crate) async fn try_query(&self, sql: &str) -> Result<String, QueryError> {
        self.client.query(&sql.replace("{db}", &self.config.database), &[]).await
    }

    pub(crate) async fn query(&self, sql: &str) -> String {
        self.try_query(sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    /// The rows of a query as JSON objects; 64-bit integers are strings.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<serde_json::Value> {
        let settings = "SETTINGS output_format_json_quote_64bit_integers = 1";
        let printed = self.query(&format!("{sql} FORMAT JSONEachRow {settings}")).await;
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) async fn insert<R: Rows>(&self, table: &str, block: &mut Block<R>, token: &str) -> Target {
        let inserts = self.inserts();
        let target = inserts.open(table, R::COLUMNS).await.unwrap();
        let mut encoded = Vec::new();
        block.encode(target.columns(), &mut encoded);
        let body = inserts.compression().compress(&encoded).unwrap();
        inserts.insert(&target, &body, token).await.unwrap();
        target
    }

    pub(crate) async fn drop(self) {
        self.query("DROP DATABASE IF EXISTS {db} SYNC").await;
    }
}
