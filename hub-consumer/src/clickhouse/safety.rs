//! Whether a table stores a block once that is sent twice: asked of the server before the first insert, and proven.

use std::time::{SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::client::{Client, QueryError, quoted};

/// Tokens that a table has to remember. A hub of 48 partitions that inserts every second makes so many in half an hour, and a
/// block in doubt is settled within minutes; our own tables remember ten times as many.
const LEAST_TOKENS: u64 = 100_000;

/// How long a replicated table has to remember them, in seconds: half of it is how long an announced block is trusted to have
/// its token still.
const LEAST_SECONDS: u64 = 604_800;

/// A table that may store a block twice, or lose it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("table `{table}` {problem}; {remedy}")]
pub struct Unsafe {
    /// The table.
    pub table: String,
    /// What is wrong with it.
    pub problem: String,
    /// What helps.
    pub remedy: String,
}

/// A table as `system.tables` describes it.
struct Described {
    name: String,
    engine: String,
    engine_full: String,
    views: Vec<String>,
}

/// What the server does where a table states nothing.
struct Defaults {
    tokens: u64,
    replicated_tokens: u64,
    replicated_seconds: u64,
}

/// Looks at a table, and at those that its views fill.
///
/// # Errors
/// The server cannot be asked. The inner error says what is wrong with the table.
pub(super) async fn check(
    client: &Client,
    database: &str,
    table: &str,
) -> Result<Result<(), Unsafe>, QueryError> {
    let defaults = defaults(client).await?;
    let Some(described) = describe(client, database, table).await? else { return Ok(Ok(())) };
    if let Err(found) = judge(&described, &defaults) {
        return Ok(Err(found));
    }
    for view in &described.views {
        let Some((target_database, target)) = target_of(client, database, view).await? else { continue };
        let Some(target) = describe(client, &target_database, &target).await? else { continue };
        if let Err(found) = judge(&target, &defaults) {
            warn!(view, %found, "a view may count a block twice that is sent twice");
        }
    }
    Ok(Ok(()))
}

/// Inserts one row twice under one token into a table of its own, with what every insert states: a profile or a proxy may
/// still undo it.
///
/// # Errors
/// The server cannot be asked. The inner error says that both rows were stored.
pub(super) async fn prove(
    client: &Client,
    database: &str,
    settings: &[(&'static str, String)],
) -> Result<Result<(), Unsafe>, QueryError> {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let name = format!("hub_deduplication_probe_{}_{nanos}", std::process::id());
    let table = format!("{}.{}", quoted(database), quoted(&name));
    let create = format!(
        "CREATE TABLE {table} (n UInt8) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 10"
    );
    match client.query(&create, &[]).await {
        Ok(_) => {}
        // A user that may only insert: nothing speaks against the server but that it was not tried.
        Err(failure) if failure.code() == Some(497) => {
            warn!("the user may not create a table to try the server's deduplication on");
            return Ok(Ok(()));
        }
        Err(failure) => return Err(failure),
    }
    let mut parameters: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    parameters.push(("insert_deduplication_token", "probe"));
    let outcome = async {
        for row in ["(1)", "(2)"] {
            client.query(&format!("INSERT INTO {table} VALUES {row}"), &parameters).await?;
        }
        client.query(&format!("SELECT count() FROM {table} FORMAT TSV"), &[]).await
    };
    let outcome = outcome.await;
    client.query(&format!("DROP TABLE {table}"), &[]).await?;
    let remedy =
        "look for insert_deduplicate and deduplicate_insert in the user's profile and its constraints"
            .to_owned();
    let problem = "stored two inserts of one token: the server does not deduplicate".to_owned();
    Ok(if outcome?.trim() == "1" { Ok(()) } else { Err(Unsafe { table: name, problem, remedy }) })
}

async fn describe(client: &Client, database: &str, table: &str) -> Result<Option<Described>, QueryError> {
    let sql = "SELECT engine, replaceAll(engine_full, '\\n', ' '), arrayStringConcat(dependencies_table, ',') FROM system.tables \
               WHERE database = {database:String} AND name = {table:String} FORMAT TSVRaw";
    let printed = client.query(sql, &[("param_database", database), ("param_table", table)]).await?;
    let Some(line) = printed.lines().next() else { return Ok(None) };
    let mut fields = line.split('\t').map(str::to_owned);
    let mut next = || fields.next().unwrap_or_default();
    let (engine, engine_full, views) = (next(), next(), next());
    let views = views.split(',').filter(|view| !view.is_empty()).map(str::to_owned).collect();
    Ok(Some(Described { name: table.to_owned(), engine, engine_full, views }))
}

/// The table that a materialized view fills, when it names one.
async fn target_of(
    client: &Client,
    database: &str,
    view: &str,
) -> Result<Option<(String, String)>, QueryError> {
    let sql = "SELECT extract(create_table_query, ' TO ([^ (]+)') FROM system.tables \
               WHERE database = {database:String} AND name = {view:String} FORMAT TSVRaw";
    let printed = client.query(sql, &[("param_database", database), ("param_view", view)]).await?;
    let plain = printed.trim().replace('`', "");
    Ok(plain.split_once('.').map(|(database, table)| (database.to_owned(), table.to_owned())))
}

async fn defaults(client: &Client) -> Result<Defaults, QueryError> {
    let sql = "SELECT name, value FROM system.merge_tree_settings WHERE name LIKE '%deduplication_window%' FORMAT TSV";
    let printed = client.query(sql, &[]).await?;
    let value = |name: &str| {
        let found =
            printed.lines().filter_map(|line| line.split_once('\t')).find(|(given, _)| *given == name);
        found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
    };
    Ok(Defaults {
        tokens: value("non_replicated_deduplication_window"),
        replicated_tokens: value("replicated_deduplication_window"),
        replicated_seconds: value("replicated_deduplication_window_seconds"),
    })
}

fn judge(table: &Described, defaults: &Defaults) -> Result<(), Unsafe> {
    let refused =
        |problem: String, remedy: String| Err(Unsafe { table: table.name.clone(), problem, remedy });
    let at_least = |name: &str, default: u64, least: u64| {
        let found = stated(&table.engine_full, name).unwrap_or(default);
        if found >= least {
            return Ok(());
        }
        let remedy = format!("ALTER TABLE {} MODIFY SETTING {name} = {}", quoted(&table.name), 10 * least);
        refused(format!("has {name} = {found}, and a repeated insert could be stored twice"), remedy)
    };
    match table.engine.as_str() {
        "Distributed" if table.engine_full.contains("rand(") => refused(
            "spreads rows at random over its shards, so a repeated insert loses and doubles rows".to_owned(),
            "give it a sharding key that is a hash of columns, or insert into the shards' own tables"
                .to_owned(),
        ),
        "Distributed" => Ok(()),
        engine if engine.starts_with("Replicated") || engine.starts_with("Shared") => {
            at_least("replicated_deduplication_window", defaults.replicated_tokens, LEAST_TOKENS)?;
            at_least("replicated_deduplication_window_seconds", defaults.replicated_seconds, LEAST_SECONDS)
        }
        // What min and max have taken in twice is the same.
        "AggregatingMergeTree" => Ok(()),
        engine if engine.ends_with("MergeTree") => {
            at_least("non_replicated_deduplication_window", defaults.tokens, LEAST_TOKENS)
        }
        engine => refused(
            format!("is of the engine {engine}, which knows no deduplication"),
            "use a table of the MergeTree family".to_owned(),
        ),
    }
}

/// A number that the table's own settings state.
fn stated(engine_full: &str, name: &str) -> Option<u64> {
    let settings = engine_full.split_once("SETTINGS ")?.1;
    let of_name =
        |setting: &str| Some(setting.trim().strip_prefix(name)?.trim().strip_prefix('=')?.trim().to_owned());
    settings.split(',').find_map(of_name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(engine: &str, engine_full: &str) -> String {
        let table = Described {
            name: "t".to_owned(),
            engine: engine.to_owned(),
            engine_full: engine_full.to_owned(),
            views: Vec::new(),
        };
        let defaults = Defaults { tokens: 0, replicated_tokens: 10_000, replicated_seconds: 3600 };
        judge(&table, &defaults).map_or_else(|found| found.to_string(), |()| "safe".to_owned())
    }

    #[test]
    fn windows_count_as_they_are_stated_or_by_the_servers_default() {
        let ours = "MergeTree ORDER BY n SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 1000000, \
                    replicated_deduplication_window = 1000000, replicated_deduplication_window_seconds = 604800";
        assert_eq!(verdict("MergeTree", ours), "safe");
        assert_eq!(verdict("ReplicatedMergeTree", ours), "safe");
        let text = verdict("MergeTree", "MergeTree ORDER BY n SETTINGS index_granularity = 8192");
        assert!(text.contains("non_replicated_deduplication_window = 0"), "{text}");
        assert!(
            text.contains("ALTER TABLE `t` MODIFY SETTING non_replicated_deduplication_window = 1000000"),
            "{text}"
        );
        let short = ours.replace("604800", "3600");
        assert!(verdict("ReplicatedMergeTree", &short).contains("window_seconds = 3600"));
        assert!(verdict("ReplicatedMergeTree", "ReplicatedMergeTree").contains("= 10000"));
    }

    #[test]
    fn engines_that_cannot_deduplicate_are_refused() {
        assert!(verdict("Distributed", "Distributed('c', 'd', 't', rand())").contains("at random"));
        assert_eq!(verdict("Distributed", "Distributed('c', 'd', 't', cityHash64(TraceId))"), "safe");
        assert!(verdict("Memory", "Memory").contains("the engine Memory"));
        assert_eq!(verdict("AggregatingMergeTree", "AggregatingMergeTree ORDER BY n"), "safe");
    }
}
