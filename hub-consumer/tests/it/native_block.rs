//! Every type of the block encoder, written by us and read by ClickHouse.

use hub_consumer::clickhouse::block::{BlockWriter, KeyRange, MapRow, Type, put_string};
use hub_consumer::clickhouse::columns::{Column, Need};
use hub_consumer::clickhouse::compression::Compression;
use hub_consumer::clickhouse::dictionary::Dictionary;

use crate::database::Database;

const ROWS: usize = 5;

const COLUMNS: &[Column] = &[
    column("u8", Type::UInt8),
    column("u16", Type::UInt16),
    column("u32", Type::UInt32),
    column("u64", Type::UInt64),
    column("i64", Type::Int64),
    column("time", Type::DateTime64),
    column("text", Type::String),
    column("encoded", Type::String),
    column("low", Type::LowCardinality),
    column("map", Type::Map),
    column("times", Type::ArrayDateTime64),
    column("texts", Type::ArrayString),
    column("lows", Type::ArrayLowCardinality),
    column("maps", Type::ArrayMap),
];

const fn column(name: &'static str, kind: Type) -> Column {
    Column { name, kind, need: Need::Required }
}

fn create_table(columns: &[Column]) -> String {
    let columns: Vec<String> =
        columns.iter().map(|column| format!("`{}` {}", column.name, column.kind.name())).collect();
    format!("CREATE TABLE {{db}}.t ({}) ENGINE = MergeTree ORDER BY tuple()", columns.join(", "))
}

async fn insert(database: &Database, columns: &'static [Column], block: &[u8], compression: Compression) {
    let inserts = database.inserts();
    let target = inserts.open("t", columns).await.unwrap();
    let token = format!("{compression:?}");
    inserts.insert(&target, &compression.compress(block).unwrap(), &token).await.unwrap();
}

fn encoded(strings: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for string in strings {
        put_string(&mut out, string.as_bytes());
    }
    out
}

fn block_of_every_type() -> Vec<u8> {
    let mut words = Dictionary::new();
    for word in ["one", "", "zwei"] {
        words.intern(word.as_bytes());
    }
    let long = "x".repeat(200);
    let texts = ["", "a", "gr\u{fc}n", "tab\tquote'", &long];
    let texts: Vec<Vec<u8>> = texts.iter().map(|text| encoded(&[text])).collect();
    let values = [encoded(&["v0", ""]), encoded(&[&long])];
    let maps = [
        MapRow { keys: KeyRange { start: 0, count: 2 }, values: &values[0] },
        MapRow { keys: KeyRange::default(), values: &[] },
        MapRow { keys: KeyRange { start: 2, count: 1 }, values: &values[1] },
    ];
    let keys = [0, 2, 1];
    let map_rows = [0, 1, 2, 0, 1];

    let mut out = Vec::new();
    let mut block = BlockWriter::begin(&mut out, COLUMNS.len(), ROWS);
    block.fixed("u8", Type::UInt8, [0_u8, 1, 2, 254, 255].into_iter());
    block.fixed("u16", Type::UInt16, [0_u16, 1, 256, 65_534, 65_535].into_iter());
    block.fixed("u32", Type::UInt32, [0_u32, 1, 65_536, 5, u32::MAX].into_iter());
    block.fixed("u64", Type::UInt64, [0_u64, 1, 1 << 32, 5, u64::MAX].into_iter());
    block.fixed("i64", Type::Int64, [0_i64, -1, i64::MIN, 5, i64::MAX].into_iter());
    block.fixed(
        "time",
        Type::DateTime64,
        [0_i64, 1, 1_767_225_600_123_456_789, 10, 1_000_000_000].into_iter(),
    );
    block.strings("text", ["", "a", "gr\u{fc}n", "tab\tquote'", &long].into_iter().map(str::as_bytes));
    block.encoded_strings("encoded", texts.iter().map(Vec::as_slice));
    block.low_cardinality("low", &words, [2, 1, 0, 1, 2].into_iter());
    block.maps("map", &words, &keys, || map_rows.iter().map(|row| maps[*row]));
    block.time_arrays("times", [0, 2, 0, 1, 0].into_iter(), [1_i64, 2_000_000_000, 3].into_iter());
    block.string_arrays(
        "texts",
        [1, 0, 0, 0, 2].into_iter(),
        [0, 1, 2].into_iter().map(|row| &texts[row][..]),
    );
    block.low_cardinality_arrays("lows", [0, 0, 3, 0, 1].into_iter(), &words, [1, 0, 2, 2].into_iter());
    block.map_arrays("maps", [0, 3, 0, 0, 1].into_iter(), &words, &keys, || {
        [0, 1, 2, 2].into_iter().map(|row| maps[row])
    });
    block.finish();
    out
}

#[tokio::test]
async fn every_type_reads_as_it_was_written_whatever_the_compression() {
    let database = Database::empty().await;
    database.query(&create_table(COLUMNS)).await;
    let block = block_of_every_type();
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        database.query("TRUNCATE TABLE {db}.t").await;
        insert(&database, COLUMNS, &block, compression).await;
        let rows = database.rows("SELECT * FROM {db}.t").await;
        let long = "x".repeat(200);
        let expected = serde_json::json!([
            {"u8": 0, "u16": 0, "u32": 0, "u64": "0", "i64": "0", "time": "1970-01-01 00:00:00.000000000",
             "text": "", "encoded": "", "low": "zwei", "map": {"one": "v0", "zwei": ""},
             "times": [], "texts": [""], "lows": [], "maps": []},
            {"u8": 1, "u16": 1, "u32": 1, "u64": "1", "i64": "-1", "time": "1970-01-01 00:00:00.000000001",
             "text": "a", "encoded": "a", "low": "", "map": {},
             "times": ["1970-01-01 00:00:00.000000001", "1970-01-01 00:00:02.000000000"], "texts": [], "lows": [],
             "maps": [{"one": "v0", "zwei": ""}, {}, {"": long}]},
            {"u8": 2, "u16": 256, "u32": 65_536, "u64": "4294967296", "i64": "-9223372036854775808",
             "time": "2026-01-01 00:00:00.123456789",
             "text": "gr\u{fc}n", "encoded": "gr\u{fc}n", "low": "one", "map": {"": long},
             "times": [], "texts": [], "lows": ["", "one", "zwei"], "maps": []},
            {"u8": 254, "u16": 65_534, "u32": 5, "u64": "5", "i64": "5", "time": "1970-01-01 00:00:00.000000010",
             "text": "tab\tquote'", "encoded": "tab\tquote'", "low": "", "map": {"one": "v0", "zwei": ""},
             "times": ["1970-01-01 00:00:00.000000003"], "texts": [], "lows": [], "maps": []},
            {"u8": 255, "u16": 65_535, "u32": 4_294_967_295_u32, "u64": "18446744073709551615", "i64": "9223372036854775807",
             "time": "1970-01-01 00:00:01.000000000",
             "text": long, "encoded": long, "low": "zwei", "map": {},
             "times": [], "texts": ["a", "gr\u{fc}n"], "lows": ["zwei"], "maps": [{"": long}]},
        ]);
        assert_eq!(serde_json::Value::Array(rows), expected, "{compression:?}");
    }
    database.drop().await;
}

#[tokio::test]
async fn a_block_without_rows_is_a_block() {
    let database = Database::empty().await;
    database.query(&create_table(COLUMNS)).await;
    let words = Dictionary::new();
    let mut out = Vec::new();
    let mut block = BlockWriter::begin(&mut out, COLUMNS.len(), 0);
    block.fixed("u8", Type::UInt8, std::iter::empty::<u8>());
    block.fixed("u16", Type::UInt16, std::iter::empty::<u16>());
    block.fixed("u32", Type::UInt32, std::iter::empty::<u32>());
    block.fixed("u64", Type::UInt64, std::iter::empty::<u64>());
    block.fixed("i64", Type::Int64, std::iter::empty::<i64>());
    block.fixed("time", Type::DateTime64, std::iter::empty::<i64>());
    block.strings("text", std::iter::empty());
    block.encoded_strings("encoded", std::iter::empty());
    block.low_cardinality("low", &words, std::iter::empty());
    block.maps("map", &words, &[], std::iter::empty);
    block.time_arrays("times", std::iter::empty(), std::iter::empty());
    block.string_arrays("texts", std::iter::empty(), std::iter::empty());
    block.low_cardinality_arrays("lows", std::iter::empty(), &words, std::iter::empty());
    block.map_arrays("maps", std::iter::empty(), &words, &[], std::iter::empty);
    block.finish();
    insert(&database, COLUMNS, &out, Compression::Lz4).await;
    assert_eq!(database.query("SELECT count() FROM {db}.t").await.trim(), "0");
    database.drop().await;
}

/// A dictionary of `keys` strings, each used once, and read back by number.
async fn check_dictionary_of(database: &Database, keys: u32) {
    const ONE_COLUMN: &[Column] = &[column("n", Type::UInt32), column("low", Type::LowCardinality)];
    database.query("DROP TABLE IF EXISTS {db}.t").await;
    database.query(&create_table(ONE_COLUMN)).await;
    let mut words = Dictionary::new();
    for key in 0..keys {
        words.intern(format!("key {key}").as_bytes());
    }
    let mut out = Vec::new();
    let mut block = BlockWriter::begin(&mut out, 2, keys as usize);
    block.fixed("n", Type::UInt32, (0..keys).rev());
    block.low_cardinality("low", &words, (0..keys).rev());
    block.finish();
    insert(database, ONE_COLUMN, &out, Compression::Lz4).await;
    let matching = database.query("SELECT countIf(low = concat('key ', toString(n))) FROM {db}.t").await;
    assert_eq!(matching.trim(), keys.to_string());
}

#[tokio::test]
async fn dictionaries_of_every_index_width_are_read_right() {
    let database = Database::empty().await;
    for keys in [1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000] {
        check_dictionary_of(&database, keys).await;
    }
    database.drop().await;
}
