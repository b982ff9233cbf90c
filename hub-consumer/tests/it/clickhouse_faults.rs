//! What the hub does when ClickHouse refuses an insert, or stores it and does not say so: a proxy before the real
//! server answers by script, or lets requests through.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header::CONTENT_ENCODING},
    response::{IntoResponse, Response},
};
use hub_consumer::{
    clickhouse::ClickHouseConfig,
    replay::{ReplayArgs, replay},
};
use service_runtime::{Runtime, http_client::HttpClientConfig};
use telemetry_wire::{Signal, headers::dead_letter};

use crate::{
    database::Database,
    line::{Hub, Line, eventually, logs_request},
};

/// An insert as the proxy saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Insert {
    /// First and last offset, as the token says.
    pub(crate) range: (i64, i64),
    token: String,
    body: Bytes,
}

/// What the proxy does with an insert, given its number from 0.
pub(crate) enum Fault {
    /// Lets it through.
    None,
    /// Answers with a ClickHouse exception instead.
    Refuse(u32, &'static str),
    /// Lets it through and answers as a proxy that lost its patience.
    StoreAndLose,
    /// Answers so without letting it through.
    Lose,
    /// Lets it through, deletes its rows, and answers so.
    StoreAndForget,
    /// Lets it through after this time, if it is still waited for.
    Hold(Duration),
}

type Script = dyn Fn(usize, &Insert) -> Fault + Send + Sync;

#[derive(Clone)]
struct Proxy {
    server: String,
    script: Arc<Script>,
    inserts: Arc<Mutex<Vec<Insert>>>,
}

async fn answer(
    State(proxy): State<Proxy>,
    Query(parameters): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // `cluster/topic/partition/first-last/fingerprint/announced`, and more for a repair; the probe's token is another.
    let token = parameters.get("insert_deduplication_token");
    let range = token.and_then(|token| token.split('/').nth(3)?.split_once('-'));
    let fault = range.map_or(Fault::None, |(first, last)| {
        let range = (first.parse().unwrap(), last.parse().unwrap());
        let insert = Insert { range, token: token.unwrap().clone(), body: body.clone() };
        let mut inserts = proxy.inserts.lock().unwrap();
        let fault = (proxy.script)(inserts.len(), &insert);
        inserts.push(insert);
        fault
    });
    if let Fault::Refuse(code, message) = fault {
        let text = format!("Code: {code}. DB::Exception: {message}. (version 26)");
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            [("X-ClickHouse-Exception-Code", code.to_string())],
            text,
        )
            .into_response();
    }
    if matches!(fault, Fault::Lose) {
        return StatusCode::GATEWAY_TIMEOUT.into_response();
    }
    if let Fault::Hold(time) = fault {
        tokio::time::sleep(time).await;
    }
    let mut request = reqwest::Client::new().post(&proxy.server).query(&parameters).body(body);
    if let Some(encoding) = headers.get(CONTENT_ENCODING) {
        request = request.header(CONTENT_ENCODING, encoding);
    }
    let reply = request.send().await.unwrap();
    if matches!(fault, Fault::StoreAndLose | Fault::StoreAndForget) {
        assert!(reply.status().is_success());
        if matches!(fault, Fault::StoreAndForget) {
            // `INSERT INTO db.table (…) FORMAT Native`.
            let table = parameters["query"].split(' ').nth(2).unwrap();
            let delete = format!("ALTER TABLE {table} DELETE WHERE 1 SETTINGS mutations_sync = 1");
            let deleted = reqwest::Client::new().post(&proxy.server).body(delete).send().await.unwrap();
            assert!(deleted.status().is_success());
        }
        return StatusCode::GATEWAY_TIMEOUT.into_response();
    }
    let (status, text) = (reply.status(), reply.bytes().await.unwrap());
    (status, text).into_response()
}

/// The server as it looks through a proxy with this script, and the inserts that it saw.
pub(crate) async fn behind_proxy(
    config: &ClickHouseConfig,
    script: impl Fn(usize, &Insert) -> Fault + Send + Sync + 'static,
) -> (ClickHouseConfig, Arc<Mutex<Vec<Insert>>>) {
    let inserts: Arc<Mutex<Vec<Insert>>> = Arc::default();
    let server = devstack::shared().clickhouse_url.clone();
    let proxy = Proxy { server, script: Arc::new(script), inserts: Arc::clone(&inserts) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(proxy);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let http = HttpClientConfig::plain(url.parse().unwrap());
    (ClickHouseConfig { http, ..config.clone() }, inserts)
}

/// Everything a test of faults looks at.
struct Case {
    line: Line,
    database: Database,
    hub: Hub,
    inserts: Arc<Mutex<Vec<Insert>>>,
}

impl Case {
    /// Sends `records` logs requests of 2 records each and runs a hub whose inserts go through the script.
    async fn start(records: usize, script: impl Fn(usize, &Insert) -> Fault + Send + Sync + 'static) -> Case {
        let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
        for number in 0..records {
            line.send(0, &logs_request(&format!("request {number}"), 2), &[]).await;
        }
        let (clickhouse, inserts) = behind_proxy(&database.config, script).await;
        // One block of everything: a second is long enough to read what was sent before the hub began.
        let hub = Hub::ready(line.table_config(&clickhouse, "")).await;
        Case { line, database, hub, inserts }
    }

    /// Waits for the end and checks what is stored: two rows for each of these offsets.
    async fn finish(self, stored: impl IntoIterator<Item = i64>) -> Vec<Insert> {
        self.line.wait_until_committed().await;
        let sql = "SELECT toInt32(source_offset) AS o, toInt32(count()) AS n FROM {db}.otel_logs GROUP BY o ORDER BY o";
        let rows = self.database.rows(sql).await;
        let found: Vec<_> =
            rows.iter().map(|row| (row["o"].as_i64().unwrap(), row["n"].as_i64().unwrap())).collect();
        let expected: Vec<_> = stored.into_iter().map(|offset| (offset, 2)).collect();
        assert_eq!(found, expected);
        self.hub.check_conservation().await;
        self.hub.stop().await;
        self.database.drop().await;
        let inserts = self.inserts.lock().unwrap();
        inserts.clone()
    }
}

/// Refuses the first three attempts with a code that passes by itself.
async fn check_passing_refusal(code: u32, message: &'static str) {
    let case =
        Case::start(8, move |number, _| if number < 3 { Fault::Refuse(code, message) } else { Fault::None })
            .await;
    let inserts = case.finish(0..8).await;
    assert!(inserts.iter().all(|insert| *insert == inserts[0]), "every attempt is the same, byte for byte");
    assert_eq!(inserts.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_parts_are_waited_for() {
    check_passing_refusal(252, "Too many parts (3000)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_table_is_waited_for() {
    check_passing_refusal(242, "Table is in readonly mode").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_limit_is_waited_for() {
    check_passing_refusal(241, "Memory limit exceeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn insert_that_was_stored_without_an_answer_is_looked_for_and_not_repeated() {
    let case = Case::start(8, |number, _| if number < 2 { Fault::StoreAndLose } else { Fault::None }).await;
    let inserts = case.finish(0..8).await;
    assert_eq!(inserts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn insert_that_was_lost_without_an_answer_is_repeated_byte_for_byte() {
    let case = Case::start(8, |number, _| if number < 2 { Fault::Lose } else { Fault::None }).await;
    let inserts = case.finish(0..8).await;
    assert!(inserts.iter().all(|insert| *insert == inserts[0]), "every attempt is the same, byte for byte");
    assert_eq!(inserts.len(), 3);
}

/// The server writes down a token before its rows are safe, and a crash between the two loses them (hole 2). A deleted row
/// leaves the same state: the token is known, the row is not there.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_server_lost_and_whose_token_it_kept_are_inserted_under_another() {
    let case =
        Case::start(8, |number, _| if number == 0 { Fault::StoreAndForget } else { Fault::None }).await;
    let inserts = case.finish(0..8).await;
    let [lost, repeated, repair] = &inserts[..] else { panic!("{} inserts", inserts.len()) };
    assert_eq!(lost, repeated, "first the same bytes, which the server drops");
    assert!(repair.token.starts_with(&format!("{}/missing-", lost.token)), "{}", repair.token);
}

#[tokio::test(flavor = "multi_thread")]
async fn record_that_the_table_refuses_is_found_by_halving_and_alone_dead_lettered() {
    let refuses_5 = |_: usize, insert: &Insert| {
        let (first, last) = insert.range;
        if (first..=last).contains(&5) { Fault::Refuse(6, "Cannot parse string") } else { Fault::None }
    };
    let case = Case::start(16, refuses_5).await;
    case.line.wait_until_committed().await;
    let letter = case.line.read_dead_letters(1).await.remove(0);
    assert_eq!(letter.value, logs_request("request 5", 2), "exactly its bytes");
    let header = |name: &str| letter.headers.iter().find(|(given, _)| given == name).unwrap().1.clone();
    assert_eq!(header(dead_letter::REASON), "data");
    assert_eq!(header(dead_letter::SOURCE_OFFSET), "5");
    let inserts = case.finish((0..16).filter(|offset| *offset != 5)).await;
    assert!(inserts.len() <= 1 + 2 * 4, "at most 2·log2(16) inserts more than one: {}", inserts.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_schema_keeps_the_records_until_it_is_mended() {
    let mended = Arc::new(Mutex::new(false));
    let is_mended = Arc::clone(&mended);
    let refuses_until_mended = move |_: usize, _: &Insert| {
        if *is_mended.lock().unwrap() {
            Fault::None
        } else {
            Fault::Refuse(16, "There's no column X in table")
        }
    };
    let case = Case::start(4, refuses_until_mended).await;
    eventually("readiness says so", async || case.hub.unmet("clickhouse_logs").as_deref() == Some("schema"))
        .await;
    assert_eq!(case.line.committed().await.get(&0), Some(&0), "announced, and nothing is complete");
    case.line.read_dead_letters(0).await;
    *mended.lock().unwrap() = true;
    let inserts = case.finish(0..4).await;
    assert!(inserts.iter().all(|insert| *insert == inserts[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn column_that_an_operator_drops_is_left_out_and_nothing_is_lost() {
    let line = Line::new(Signal::Logs, 1).await;
    let database = Database::migrated().await;
    let hub = Hub::ready(line.table_config(&database.config, "blocks: {max_age: 100ms}")).await;
    line.send(0, &logs_request("before", 2), &[]).await;
    line.wait_until_committed().await;
    database.query("ALTER TABLE {db}.otel_logs DROP COLUMN EventName").await;
    line.send(0, &logs_request("after", 2), &[]).await;
    line.wait_until_committed().await;
    assert_eq!(database.query("SELECT count() FROM {db}.otel_logs").await.trim(), "4");
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_several_partitions_that_is_told_to_end_sees_all_their_inserts_through() {
    let (line, database) = (Line::new(Signal::Logs, 2).await, Database::migrated().await);
    for partition in 0..2 {
        for number in 0..4 {
            line.send(partition, &logs_request(&format!("request {number}"), 2), &[]).await;
        }
        line.set_committed(partition, 4).await;
    }
    let hold =
        |number, _: &Insert| if number == 0 { Fault::Hold(Duration::from_secs(4)) } else { Fault::None };
    let (clickhouse, inserts) = behind_proxy(&database.config, hold).await;
    // A block of a second's worth of one partition is under way, and the other partition has to wait with its own.
    let slowly = ReplayArgs { rate: Some(2), parallel: 2, ..ReplayArgs::default() };
    let runtime = Runtime::detached();
    let shutdown = runtime.shutdown();
    let replaying = replay(line.table_config(&clickhouse, ""), runtime, &slowly);
    let ending = async {
        eventually("an insert is under way", async || !inserts.lock().unwrap().is_empty()).await;
        shutdown.cancel();
    };
    let (replayed, ()) = tokio::join!(replaying, ending);
    assert!(format!("{:#}", replayed.unwrap_err()).contains("it was interrupted"));
    let begun = inserts.lock().unwrap().len();
    let stored = database.query("SELECT count() FROM {db}.otel_logs").await;
    assert_eq!((begun, stored.trim()), (1, "2"));
    database.drop().await;
}
