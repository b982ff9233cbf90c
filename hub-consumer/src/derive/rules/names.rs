//! Names that Mimir and Prometheus keep as they are, and that do not meet.

use std::collections::HashMap;

use super::{Kind, Rule, yaml::Found, yaml::problem};

/// Suffixes that Prometheus' naming puts to a metric of this unit, when they are not there.
const UNITS: [(&str, &str); 8] = [
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("%", "percent"),
];
/// Suffixes of the series that a histogram becomes, and of counters.
const RESERVED: [&str; 4] = ["_bucket", "_sum", "_count", "_total"];
/// Labels that the stores set themselves.
const RESERVED_LABELS: [&str; 4] = ["job", "instance", "le", "quantile"];

/// What is wrong with a metric's name, and what would be right.
pub(super) fn check_metric(name: &str, is_counter: bool, unit: &str) -> Option<(String, String)> {
    if !is_name(name) || name.contains("__") || name.ends_with('_') {
        let what = format!("`{name}` is a name that Prometheus would change");
        return Some((what, "use letters, digits and single underscores, a letter first".to_owned()));
    }
    let stem = name.strip_suffix("_total");
    if is_counter && stem.is_none() {
        let remedy = format!("name it `{name}_total`");
        return Some(("is a counter whose name does not end in `_total`".to_owned(), remedy));
    }
    if !is_counter && let Some(suffix) = RESERVED.iter().find(|suffix| name.ends_with(**suffix)) {
        let what = format!("is a histogram whose name ends in `{suffix}`");
        return Some((what, "name what is measured, and its unit".to_owned()));
    }
    let suffix = UNITS.iter().find(|(of, _)| *of == unit).map(|(_, suffix)| *suffix)?;
    let stem = stem.unwrap_or(name);
    (!stem.ends_with(&format!("_{suffix}"))).then(|| {
        let what = format!("is of unit `{unit}`, which Prometheus would put to the name");
        let named = if is_counter { format!("{stem}_{suffix}_total") } else { format!("{stem}_{suffix}") };
        (what, format!("name it `{named}`"))
    })
}

/// What is wrong with a label's name, and what would be right.
pub(super) fn check_label(name: &str) -> Option<(String, String)> {
    if !is_name(name) || name.starts_with('_') {
        let what = format!("`{name}` is a name that Prometheus would change");
        return Some((what, "use letters, digits and underscores, a letter first".to_owned()));
    }
    RESERVED_LABELS
        .contains(&name)
        .then(|| ("is a label that the store sets itself".to_owned(), "give it another name".to_owned()))
}

/// Notes every metric that has a name, or makes a series, of another one.
pub(super) fn check_overlaps(rules: &[(String, Rule)], found: &Found) {
    let mut owners: HashMap<String, &str> = HashMap::new();
    for (path, rule) in rules {
        for series in series_of(rule) {
            if let Some(owner) = owners.insert(series.clone(), path) {
                let what = format!("makes the series `{series}`, which {owner} makes too");
                problem(found, &format!("{path}.name"), what, "give it a name of its own");
                break;
            }
        }
    }
}

/// What the metric is stored as, and its own name.
fn series_of(rule: &Rule) -> Vec<String> {
    let name = &rule.name;
    match rule.kind {
        Kind::Counter => vec![name.clone()],
        Kind::Histogram { .. } => {
            vec![name.clone(), format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count")]
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_legal) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}
