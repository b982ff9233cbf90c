//! What a chart's `values.yaml` says of its values: the comment that starts with `# --` above each, and hints for the schema.
//!
//! `# @enum A B` lists what is allowed, `# @type T` says a type that the default does not show, `# @items T` that of a list's
//! items, and `# @free` that a mapping holds what its reader likes.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// One documented value.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Keys from the top.
    pub(crate) path: Vec<String>,
    pub(crate) text: String,
    pub(crate) default: Value,
    hints: Hints,
}

#[derive(Debug, Default, Clone)]
struct Hints {
    allowed: Option<Vec<Value>>,
    kind: Option<String>,
    items: Option<String>,
    is_free: bool,
}

/// Comments that wait for the value they stand above.
#[derive(Debug, Default)]
struct Pending {
    text: Option<String>,
    hints: Hints,
}

/// Every value of the file, in its order.
///
/// # Errors
/// A value is not documented, or a hint is not known.
pub(crate) fn read(file: &str) -> Result<Vec<Entry>> {
    let tree: Value = serde_saphyr::from_str(file).context("values.yaml is no YAML")?;
    let mut entries = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    // What is deeper than a documented value is its default.
    let mut inside: Option<usize> = None;
    let mut pending = Pending::default();
    for line in file.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text.is_empty() {
            pending = Pending::default();
            continue;
        }
        if inside.is_some_and(|depth| indent > depth || text.starts_with("- ")) {
            continue;
        }
        if let Some(comment) = text.strip_prefix('#') {
            inside = None;
            pending.take(comment.trim())?;
            continue;
        }
        let (key, rest) = text.split_once(':').with_context(|| format!("`{line}` is no key"))?;
        parents.retain(|(depth, _)| *depth < indent);
        inside = None;
        let path: Vec<String> = parents.iter().map(|(_, key)| key.clone()).chain([key.to_owned()]).collect();
        let Pending { text, hints } = std::mem::take(&mut pending);
        let Some(text) = text else {
            ensure!(rest.trim().is_empty(), "{} has no `# --` comment", path.join("."));
            parents.push((indent, key.to_owned()));
            continue;
        };
        let default = path.iter().fold(&tree, |value, key| &value[key]).clone();
        entries.push(Entry { path, text, default, hints });
        inside = Some(indent);
    }
    Ok(entries)
}

impl Pending {
    fn take(&mut self, comment: &str) -> Result<()> {
        if let Some(text) = comment.strip_prefix("-- ") {
            self.text = Some(text.to_owned());
        } else if let Some(hint) = comment.strip_prefix('@') {
            let (name, value) = hint.split_once(' ').unwrap_or((hint, ""));
            match name {
                "enum" => self.hints.allowed = Some(value.split_whitespace().map(scalar).collect()),
                "type" => self.hints.kind = Some(value.to_owned()),
                "items" => self.hints.items = Some(value.to_owned()),
                "free" => self.hints.is_free = true,
                _ => bail!("the hint @{name} is not known"),
            }
        } else if let Some(text) = &mut self.text {
            text.push(' ');
            text.push_str(comment);
        }
        Ok(())
    }
}

/// `""` is empty text, a number is one, anything else is text.
fn scalar(word: &str) -> Value {
    match word.parse::<i64>() {
        Ok(number) => json!(number),
        Err(_) => json!(word.trim_matches('"')),
    }
}

impl Entry {
    /// The schema of this value alone.
    fn schema(&self) -> Result<Value> {
        let mut schema = match (&self.hints, &self.default) {
            (Hints { allowed: Some(allowed), .. }, _) => json!({ "enum": allowed }),
            (Hints { kind: Some(kind), .. }, _) => json!({ "type": kind }),
            (Hints { items: Some(items), .. }, Value::Array(_)) => {
                json!({"type": "array", "items": {"type": items}})
            }
            (_, Value::Array(_)) => json!({"type": "array"}),
            (Hints { is_free: true, .. }, Value::Object(_)) => json!({"type": "object"}),
            (_, Value::Bool(_)) => json!({"type": "boolean"}),
            (_, Value::Number(number)) if number.is_f64() => json!({"type": "number"}),
            (_, Value::Number(_)) => json!({"type": "integer"}),
            (_, Value::String(_)) => json!({"type": "string"}),
            (_, default) => bail!("{}: what may stand for {default}? Give a hint", self.path.join(".")),
        };
        schema["description"] = json!(self.text);
        Ok(schema)
    }

    /// The type in a word, for people.
    pub(crate) fn kind(&self) -> String {
        let word = |value: &Value| value.as_str().map_or(value.to_string(), |text| format!("`{text}`"));
        match (&self.hints, &self.default) {
            (Hints { allowed: Some(allowed), .. }, _) => {
                let words = allowed.iter().map(|value| match value.as_str() {
                    Some("") => "empty".to_owned(),
                    _ => word(value),
                });
                words.collect::<Vec<_>>().join(", ")
            }
            (Hints { kind: Some(kind), .. }, _) => kind.clone(),
            (_, Value::Array(_)) => "list".to_owned(),
            (_, Value::Object(_)) => "mapping".to_owned(),
            (_, Value::Bool(_)) => "boolean".to_owned(),
            (_, Value::Number(_)) => "number".to_owned(),
            _ => "text".to_owned(),
        }
    }
}

/// The schema of a chart's values: nothing is allowed that is not documented.
///
/// # Errors
/// The schema of a value cannot be told.
pub(crate) fn schema(entries: &[Entry]) -> Result<Value> {
    let mut root = object();
    for entry in entries {
        let (last, parents) = entry.path.split_last().context("a path has a key")?;
        let mut place = &mut root;
        for key in parents {
            place = properties(place)?.entry(key.clone()).or_insert_with(object);
        }
        properties(place)?.insert(last.clone(), entry.schema()?);
    }
    // Helm hands these on to the library chart.
    for key in ["common", "global"] {
        properties(&mut root)?.insert(key.to_owned(), json!({"type": "object"}));
    }
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    Ok(root)
}

fn object() -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": {}})
}

fn properties(schema: &mut Value) -> Result<&mut Map<String, Value>> {
    schema["properties"].as_object_mut().context("a value is documented and has documented values below it")
}
