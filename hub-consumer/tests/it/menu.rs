//! The business view of the request log on a real server: the rollup is its rows, and an item is what the menu said at the time.

use hub_consumer::menu::{self, Change, Item, parse};

use crate::database::Database;

const MENU: &str = r#"{"menu_items":[
  {"id":"1","name":"Margherita Pizza","price":12.99,"available":true,"restaurant":"Tony's Pizza","category":"Pizza"},
  {"id":"3","name":"Classic Burger","price":11.99,"available":false,"restaurant":"Burger \"Joint\"","category":"Burgers"}
]}"#;

async fn apply(database: &Database, items: &[Item]) -> Vec<Change> {
    menu::apply(&database.config, items, false).await.unwrap()
}

/// A request line a second for a minute, twenty minutes ago, as the edge makes it of the service's log.
async fn insert_requests(database: &Database, path: &str, status: u16, id: &str) {
    let id = id.replace('\\', "\\\\").replace('\'', "\\'");
    let path = path.replace('\\', "\\\\").replace('\'', "\\'");
    let sql = format!(
        "INSERT INTO {{db}}.otel_logs (Timestamp, ServiceName, LogAttributes, source_partition, source_offset, received_at) \
         SELECT toStartOfMinute(now() - INTERVAL 20 MINUTE) + number, 'mock-service', \
         map('path', '{path}', 'status_code', '{status}', 'menu_item_id', '{id}'), 0, number, now() FROM numbers(60)"
    );
    database.query(&sql).await;
}

async fn rollup(database: &Database) -> String {
    let sql = "SELECT route, status, item, restaurant, sum(requests) FROM {db}.menu_requests GROUP BY ALL ORDER BY ALL FORMAT TSV";
    database.query(sql).await
}

async fn reads_the_projection(database: &Database) -> bool {
    let sql = "EXPLAIN SELECT minute, route, sum(requests) FROM {db}.menu_requests WHERE minute > now() - INTERVAL 1 HOUR AND \
               service IN ('mock-service') GROUP BY ALL";
    database.query(sql).await.contains("ReadFromMergeTree (menu_minutes)")
}

#[tokio::test]
async fn only_what_the_service_answered_is_a_key_of_the_rollup() {
    let database = Database::migrated().await;
    apply(&database, &parse(MENU).unwrap()).await;
    insert_requests(&database, "/api/menu", 200, "").await;
    insert_requests(&database, "/api/menu", 500, "").await;
    insert_requests(&database, "/api/menu/1", 200, "1").await;
    insert_requests(&database, "/api/menu/9", 200, "9").await;
    insert_requests(&database, "/api/menu/", 400, "").await;
    insert_requests(&database, "/health", 200, "").await;
    insert_requests(&database, "", 0, "").await;
    for hostile in ["'); DROP TABLE otel_logs; --", "{{.Env}}", "../../etc/passwd", &"x".repeat(10_000)] {
        insert_requests(&database, &format!("/api/menu/{hostile}"), 404, hostile).await;
    }
    insert_requests(&database, "/api/menu/long", 200, &"y".repeat(33)).await;
    assert_eq!(
        rollup(&database).await,
        "/api/menu\t200\t\t\t60\n/api/menu\t500\t\t\t60\n/api/menu/{id}\t200\t1\tTony\\'s Pizza\t60\n\
         /api/menu/{id}\t200\t9\tunknown\t60\n/api/menu/{id}\t200\tother\t\t60\n/api/menu/{id}\t400\t\t\t60\n\
         /api/menu/{id}\t404\tother\t\t240\n/health\t200\t\t\t60\n"
    );
    assert!(reads_the_projection(&database).await);
    database.drop().await;
}

#[tokio::test]
async fn the_rollup_follows_its_rows_through_deletes_of_every_kind() {
    let database = Database::migrated().await;
    insert_requests(&database, "/api/menu", 200, "").await;
    insert_requests(&database, "/api/menu", 500, "").await;
    database.query("DELETE FROM {db}.otel_logs WHERE menu_status = 500 AND source_offset < 20").await;
    let ended = "ALTER TABLE {db}.otel_logs DELETE WHERE menu_status = 200 AND source_offset < 10 SETTINGS mutations_sync = 2";
    database.query(ended).await;
    assert_eq!(rollup(&database).await, "/api/menu\t200\t\t\t50\n/api/menu\t500\t\t\t40\n");
    database.query("OPTIMIZE TABLE {db}.otel_logs FINAL").await;
    assert_eq!(rollup(&database).await, "/api/menu\t200\t\t\t50\n/api/menu\t500\t\t\t40\n");
    assert!(reads_the_projection(&database).await);
    database.drop().await;
}

#[tokio::test]
async fn rows_older_than_the_rollup_count_and_are_rolled_up_on_request() {
    let database = Database::migrated().await;
    database.query("ALTER TABLE {db}.otel_logs DROP PROJECTION menu_minutes").await;
    for column in ["menu_item", "menu_route", "menu_status"] {
        // What a table looks like that was made before the migration: its parts have none of these.
        database
            .query(&format!("ALTER TABLE {{db}}.otel_logs CLEAR COLUMN {column} SETTINGS mutations_sync = 2"))
            .await;
    }
    insert_requests(&database, "/api/menu/1", 200, "1").await;
    let projection = "ALTER TABLE {db}.otel_logs ADD PROJECTION menu_minutes (SELECT toStartOfMinute(Timestamp), ServiceName, \
                      menu_route, menu_status, menu_item, count(), max(received_at) GROUP BY toStartOfMinute(Timestamp), \
                      ServiceName, menu_route, menu_status, menu_item)";
    database.query(projection).await;
    let expected = "/api/menu/{id}\t200\t1\tunknown\t60\n";
    assert_eq!(rollup(&database).await, expected);
    let parts = "SELECT count() FROM system.projection_parts WHERE database = '{db}' AND active FORMAT TSV";
    assert_eq!(database.query(parts).await.trim(), "0");
    let mut looks = Vec::new();
    database.migrator().rebuild_rollups(|parts| looks.push(parts)).await.unwrap();
    assert_eq!(looks.last(), Some(&0));
    assert_eq!(database.query(parts).await.trim(), "1");
    assert_eq!(rollup(&database).await, expected);
    assert!(reads_the_projection(&database).await);
    database.drop().await;
}

#[tokio::test]
async fn a_new_price_counts_from_its_own_minute_on() {
    let database = Database::migrated().await;
    let first = parse(MENU).unwrap();
    assert!(matches!(apply(&database, &first).await.as_slice(), [Change::Added(_), Change::Added(_)]));
    assert_eq!(apply(&database, &first).await, []);
    let mut second = first.clone();
    second[0].price_cents = 1399;
    second.truncate(1);
    // The clock of ranges is in seconds; what changes twice within one would have no range.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let changes = apply(&database, &second).await;
    assert!(matches!(changes.as_slice(), [Change::Changed { .. }, Change::Gone(_)]), "{changes:?}");
    let price = "SELECT dictGet('{db}.menu', 'price', tuple('1'), now() - INTERVAL 1 DAY), dictGet('{db}.menu', 'price', tuple('1'), now()), \
                 dictHas('{db}.menu', tuple('3'), now() - INTERVAL 1 HOUR), dictHas('{db}.menu', tuple('3'), now()), \
                 dictGet('{db}.menu', 'restaurant', tuple('3'), now() - INTERVAL 1 DAY) FORMAT TSV";
    assert_eq!(database.query(price).await, "12.99\t13.99\t1\t0\tBurger \"Joint\"\n");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let back = apply(&database, &first).await;
    assert!(matches!(back.as_slice(), [Change::Changed { .. }, Change::Returned(_)]), "{back:?}");
    assert_eq!(apply(&database, &first).await, []);
    database.drop().await;
}

#[tokio::test]
async fn a_database_without_the_table_is_told_how_to_get_it() {
    let database = Database::empty().await;
    let refused = menu::apply(&database.config, &parse(MENU).unwrap(), false).await.unwrap_err();
    assert!(refused.to_string().contains("run `hub-consumer migrate` first"), "{refused:#}");
    database.drop().await;
}
