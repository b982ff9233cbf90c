//! Reads the text of `/metrics` as a scraper reads it: line by line, each sample under its own name.
//!
//! Exemplars and timestamps behind a value are passed over; prometheus-client writes no timestamps, and we have no exemplars.

use std::{borrow::Cow, collections::BTreeMap};

/// The samples of a page by the name that they have in a store: `_bucket`, `_sum` and `_count` of a histogram are three.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page<'a>(pub(super) BTreeMap<&'a str, Metric<'a>>);

/// The samples of one name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Metric<'a> {
    /// The page's sentence about it.
    pub(super) help: &'a str,
    pub(super) kind: Kind,
    pub(super) samples: Vec<Sample<'a>>,
}

/// What the samples of a name are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// A counter's `_total`.
    Counter,
    /// A part of a histogram, which counts too.
    Histogram,
    /// Anything else.
    #[default]
    Gauge,
}

/// One line.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// What stands between the braces, as it stands there; empty without braces.
    pub(super) labels: &'a str,
    pub(super) value: f64,
}

/// A line that is no sample, which is a mistake in the page.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("`{0}` is no sample of a metric")]
pub struct Unreadable(String);

/// What the lines before a sample say of it.
#[derive(Debug, Default)]
struct Family<'a> {
    help: &'a str,
    kind: Kind,
}

impl<'a> Page<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, Unreadable> {
        let mut page = Self::default();
        let mut family = Family::default();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family.help = help.split_once(' ').map_or("", |(_, help)| help);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                family.kind = Kind::of(kind);
            } else if !line.starts_with('#') {
                let (name, sample) = read_sample(line).ok_or_else(|| Unreadable(line.to_owned()))?;
                let is_value = family.kind != Kind::Counter || name.ends_with("_total");
                let kind = if is_value { family.kind } else { Kind::Gauge };
                let metric = page.0.entry(name);
                let metric = metric.or_insert(Metric { help: family.help, kind, samples: Vec::new() });
                metric.samples.push(sample);
            }
        }
        Ok(page)
    }

    /// The metrics whose names begin so.
    pub(super) fn with_prefix(mut self, prefix: &str) -> Self {
        self.0.retain(|name, _| name.starts_with(prefix));
        self
    }
}

impl Kind {
    /// What a line `# TYPE` says.
    fn of(text: &str) -> Self {
        match text.rsplit_once(' ') {
            Some((_, "counter")) => Self::Counter,
            Some((_, "histogram")) => Self::Histogram,
            _ => Self::Gauge,
        }
    }
}

fn read_sample(line: &str) -> Option<(&str, Sample<'_>)> {
    let name_len = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_len);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => {
            let len = labels(rest).try_fold(0, |_, label| label.map(|label| label.end))?;
            (&rest[..len], rest[len..].strip_prefix('}')?)
        }
        None => ("", rest),
    };
    let value = rest.strip_prefix(' ')?.split(' ').next()?.parse().ok()?;
    (!name.is_empty()).then_some((name, Sample { labels, value }))
}

/// A label of a sample.
#[derive(Debug, PartialEq)]
pub(super) struct Label<'a> {
    pub(super) name: &'a str,
    pub(super) value: Cow<'a, str>,
    /// Where it ends in the text that was read.
    end: usize,
}

/// The labels at the beginning of `text`, up to the closing brace or the end; `None` for what is no label.
pub(super) fn labels(text: &str) -> impl Iterator<Item = Option<Label<'_>>> {
    let mut at = 0;
    let mut is_broken = false;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        if is_broken || rest.is_empty() || rest.starts_with('}') {
            return None;
        }
        let start = at + usize::from(at > 0 && rest.starts_with(','));
        let label = read_label(&text[start..], start);
        match &label {
            Some(label) => at = label.end,
            None => is_broken = true,
        }
        Some(label)
    })
}

fn read_label(text: &str, start: usize) -> Option<Label<'_>> {
    let (name, rest) = text.split_once("=\"")?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        return None;
    }
    // A backslash hides what follows it, a quote too.
    let mut is_escaped = false;
    let len = rest.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })?;
    let end = start + name.len() + "=\"".len() + len + 1;
    Some(Label { name, value: unescaped(&rest[..len]), end })
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let hidden = if character == '\\' { characters.next() } else { None };
        plain.push(match hidden {
            Some('n') => '\n',
            Some(hidden) => hidden,
            None => character,
        });
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        encoding::text::encode,
        metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
        registry::Registry,
    };
    use proptest::prelude::*;

    use super::*;

    type Labels = Vec<(String, String)>;

    fn page_of(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    /// Every sample: its name, its labels and its value, in the order of the names.
    fn samples<'a>(page: &'a Page<'_>) -> Vec<(&'a str, Labels, f64)> {
        let read = |text: &str| -> Labels {
            let label = |label: Option<Label<'_>>| {
                let label = label.unwrap();
                (label.name.to_owned(), label.value.into_owned())
            };
            labels(text).map(label).collect()
        };
        page.0
            .iter()
            .flat_map(|(name, metric)| {
                metric.samples.iter().map(|sample| (*name, read(sample.labels), sample.value))
            })
            .collect()
    }

    fn pairs<const N: usize>(labels: [(&str, &str); N]) -> Labels {
        labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    #[test]
    fn every_kind_of_metric_is_read_under_the_names_of_a_scrape() {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        counter.inc_by(3);
        registry.register("requests", "Requests", counter);
        registry.register("queue_bytes", "Bytes that wait", Gauge::<i64>::default());
        registry.register("build", "What runs", Info::new(vec![("version", "1")]));
        let histogram = Histogram::new([0.5, 1.0]);
        histogram.observe(0.7);
        registry.register("wait_seconds", "Waiting", histogram);
        let text = page_of(&registry);
        let page = Page::read(&text).unwrap();
        assert_eq!(
            samples(&page),
            [
                ("build_info", pairs([("version", "1")]), 1.0),
                ("queue_bytes", pairs([]), 0.0),
                ("requests_total", pairs([]), 3.0),
                ("wait_seconds_bucket", pairs([("le", "0.5")]), 0.0),
                ("wait_seconds_bucket", pairs([("le", "1.0")]), 1.0),
                ("wait_seconds_bucket", pairs([("le", "+Inf")]), 1.0),
                ("wait_seconds_count", pairs([]), 1.0),
                ("wait_seconds_sum", pairs([]), 0.7),
            ]
        );
        let kinds: Vec<_> = page.0.values().map(|metric| metric.kind).collect();
        let (gauge, part) = (Kind::Gauge, Kind::Histogram);
        assert_eq!(kinds, [gauge, gauge, Kind::Counter, part, part, part]);
        assert_eq!(page.0["requests_total"].help, "Requests.");
    }

    #[test]
    fn what_stands_behind_a_value_is_passed_over_and_what_is_no_sample_is_refused() {
        let page = Page::read("a_total{b=\"}\"} 3 1700000000.5 # {trace_id=\"x\"} 1.0\n# EOF\n").unwrap();
        assert_eq!(samples(&page), [("a_total", pairs([("b", "}")]), 3.0)]);
        for line in [
            "a",
            "a ",
            "{} 1",
            "a{b=\"c\" 1",
            "a{b=\"c\"}1",
            "a{b=c} 1",
            "a{=\"c\"} 1",
            "a{b=\"c\"d} 1",
            "a one",
        ] {
            assert_eq!(Page::read(line), Err(Unreadable(line.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn labels_and_values_come_back_as_they_were(
            sets in prop::collection::hash_map(("(?s).{0,20}", "(?s).{0,20}"), any::<f64>(), 1..8)
        ) {
            let mut registry = Registry::default();
            let family = Family::<[(&'static str, String); 2], Gauge<f64, std::sync::atomic::AtomicU64>>::default();
            for ((first, second), value) in &sets {
                family.get_or_create(&[("first", first.clone()), ("second", second.clone())]).set(*value);
            }
            registry.register("gauge", "A gauge", family);
            let text = page_of(&registry);
            let page = Page::read(&text).unwrap();
            let read = samples(&page);
            prop_assert_eq!(read.len(), sets.len());
            for (_, labels, value) in read {
                let [(_, first), (_, second)] = labels.try_into().unwrap();
                let expected = sets[&(first, second)];
                prop_assert!(value == expected || value.is_nan() && expected.is_nan());
            }
        }
    }
}
