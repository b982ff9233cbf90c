//! Migration files: statements with placeholders.

/// What the placeholders stand for.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pub(super) database: String,
    pub(super) logs_table: String,
    pub(super) traces_table: String,
    pub(super) on_cluster: String,
    pub(super) engine: String,
    pub(super) aggregating_engine: String,
    pub(super) move_to_cold: String,
    pub(super) retention_days: String,
    pub(super) storage_policy: String,
    pub(super) database_name: String,
    pub(super) dictionary_user: String,
}

impl Values {
    fn get(&self, name: &str) -> &str {
        match name {
            "database" => &self.database,
            "logs_table" => &self.logs_table,
            "traces_table" => &self.traces_table,
            "on_cluster" => &self.on_cluster,
            "engine" => &self.engine,
            "aggregating_engine" => &self.aggregating_engine,
            "move_to_cold" => &self.move_to_cold,
            "retention_days" => &self.retention_days,
            "storage_policy" => &self.storage_policy,
            "database_name" => &self.database_name,
            "dictionary_user" => &self.dictionary_user,
            name => unreachable!("a migration file names the unknown placeholder {name}"),
        }
    }
}

/// The statements of a file, filled in, without the semicolons that end them.
pub(super) fn statements(sql: &str, values: &Values) -> Vec<String> {
    let code: Vec<&str> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let statements = code.join("\n");
    let statements = statements.split(";\n").map(|statement| statement.trim().trim_end_matches(';'));
    statements.filter(|statement| !statement.is_empty()).map(|statement| fill(statement, values)).collect()
}

/// What is filled in is not searched again: a replica's path has braces of the server's own. `{{text}}` stands for `{text}`.
fn fill(mut text: &str, values: &Values) -> String {
    let mut filled = String::with_capacity(text.len());
    while let Some((before, rest)) = text.split_once('{') {
        filled.push_str(before);
        if let Some(rest) = rest.strip_prefix('{') {
            let (literal, after) = rest.split_once("}}").expect("a migration file closes its double braces");
            filled.extend(["{", literal, "}"]);
            text = after;
        } else {
            let (name, after) = rest.split_once('}').expect("a migration file closes its placeholders");
            filled.push_str(values.get(name));
            text = after;
        }
    }
    filled.push_str(text);
    filled
}

#[cfg(test)]
mod tests {
    use super::super::MIGRATIONS;
    use super::*;

    fn values() -> Values {
        Values {
            database: "`db`".to_owned(),
            logs_table: "l".to_owned(),
            traces_table: "t".to_owned(),
            on_cluster: "ON CLUSTER `c`".to_owned(),
            engine: "ReplicatedMergeTree('/x/{shard}/{database}', '{replica}')".to_owned(),
            aggregating_engine: "AggregatingMergeTree".to_owned(),
            move_to_cold: String::new(),
            retention_days: "365".to_owned(),
            storage_policy: String::new(),
            database_name: "db".to_owned(),
            dictionary_user: String::new(),
        }
    }

    #[test]
    fn double_braces_stand_for_single_ones() {
        assert_eq!(fill("'/a/{{id}}' {database}", &values()), "'/a/{id}' `db`");
    }

    #[test]
    fn statements_end_at_semicolons_and_comments_go() {
        let sql = "-- first; not a statement\nSELECT '{retention_days};';\n\n-- second\nSELECT 2\nFROM {database}.{logs_table};\n";
        assert_eq!(statements(sql, &values()), ["SELECT '365;'", "SELECT 2\nFROM `db`.l"]);
    }

    #[test]
    fn what_is_filled_in_is_not_searched_for_placeholders() {
        assert_eq!(fill("ENGINE = {engine}", &values()), format!("ENGINE = {}", values().engine));
    }

    #[test]
    fn every_migration_uses_known_placeholders_and_is_repeatable() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, index + 1);
            for statement in statements(migration.sql, &values()) {
                let is_repeatable = ["IF NOT EXISTS", "MODIFY COLUMN", "MODIFY SETTING"]
                    .iter()
                    .any(|word| statement.contains(word));
                assert!(is_repeatable, "{}: {statement}", migration.name);
                assert!(statement.contains("ON CLUSTER"), "{}: {statement}", migration.name);
            }
        }
    }
}
