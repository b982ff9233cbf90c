//! Rule files, right and wrong, with the exact line an operator sees.

use super::*;
use crate::derive::rules::{Field, SHIPPED, SpanKind, Values};

const RIGHT: &str = "
rules:
  - name: a_total
    help: Counts.
    from: logs
    kind: counter
";

/// A histogram beside which `fields` stand.
fn histogram(fields: &str) -> String {
    let rule = "name: a_seconds, help: Measures., unit: s, from: traces, kind: histogram";
    format!("rules: [{{{rule}, {fields}}}]")
}

/// A counter of logs with these labels.
fn labelled(labels: &str) -> String {
    format!("{RIGHT}    labels: {{{labels}}}\n")
}

fn problems(yaml: &str) -> Vec<String> {
    let problems = read(yaml).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(yaml: &str, expected: &[&str]) {
    assert_eq!(problems(yaml), expected, "{yaml}");
}

#[test]
fn the_shipped_rules_are_right_and_make_the_series_that_boards_ask_for() {
    let rules = read(SHIPPED).unwrap();
    let shape = |rule: &Rule| {
        let labels: Vec<_> = rule.labels.iter().map(|label| label.name.as_str()).collect();
        format!("{}{{{}}} {}", rule.name, labels.join(","), rule.width())
    };
    let shapes: Vec<_> = rules.iter().map(shape).collect();
    assert_eq!(
        shapes,
        [
            "menu_requests_total{route,service,status,status_class} 1",
            "menu_request_duration_seconds{route,service,status_class} 20",
            "menu_failures_total{error,route,service} 1",
            "menu_service_starts_total{service} 1",
            "menu_log_lines_total{parsed,service} 1",
            "span_duration_seconds{route,service,span_kind,status_class} 20",
        ]
    );
    assert!(rules[1].has_exemplars() && rules[5].has_exemplars());
    assert_eq!(rules[5].matching.span_kinds, [SpanKind::Server, SpanKind::Consumer]);
    assert_eq!(rules[4].labels[0].choice.source, Source::Field(Field::Parsed));
}

#[test]
fn a_rule_needs_a_name_and_little_else() {
    let rules = read(RIGHT).unwrap();
    let Rule { name, unit, max_series, labels, .. } = &rules[0];
    assert_eq!((name.as_str(), unit.as_str(), *max_series, labels.len()), ("a_total", "", MAX_SERIES, 0));
}

#[test]
fn every_problem_is_reported_at_once_with_its_path() {
    let yaml = "
rules:
  - {name: right_total, help: Counts., from: logs, kind: counter}
  - name: wrong
    from: log
    kind: counter
    colour: red
    match: {attributes: {path: [a]}, resource: {service.name: {on_of: [a]}}}
  - name: right_total
    help: Counts.
    from: logs
    kind: counter
    labels: {item: {attribute: menu_item_id}, other: {resource: service.name, max: 0}}
more: 1
";
    let found = problems(yaml);
    let paths: Vec<_> = found.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "more",
            "rules[1].help",
            "rules[1].from",
            "rules[1].match.resource.service.name",
            "rules[1].match.resource.service.name.on_of",
            "rules[1].match.attributes.path",
            "rules[1].name",
            "rules[1].colour",
            "rules[2].labels.item",
            "rules[2].labels.other.max",
            "rules[2].name",
        ],
        "{found:#?}"
    );
    let line =
        |path: &str| found.iter().find(|line| line.starts_with(&format!("{path}: "))).unwrap().as_str();
    assert_eq!(
        line("rules[2].labels.item"),
        "rules[2].labels.item: has no bound; give `one_of`, `map` or `class`"
    );
    assert!(line("rules[1].match.resource.service.name.on_of").ends_with("did you mean `one_of`?"));
    assert_eq!(
        line("rules[2].name"),
        "rules[2].name: makes the series `right_total`, which rules[0] makes too; give it a name of its own"
    );
}

#[test]
fn what_is_no_rule_file_is_one_problem() {
    for yaml in ["rules: [", "- a", "just text", "rules: {a: 1}", "", "rules: []", "a: 1\na: 2"] {
        let found = problems(yaml);
        assert!(!found.is_empty() && found.iter().all(|line| !line.contains('\n')), "{yaml:?}: {found:?}");
    }
}

#[test]
fn a_label_is_bounded_by_what_it_is_made_of() {
    let visitor = "takes values of an attribute as they come, and a visitor may choose those";
    check(
        &labelled("id: {attribute: menu_item_id, max: 10}"),
        &[&format!("rules[0].labels.id.max: {visitor}; name the values by `one_of`, `map` or `class`")],
    );
    check(
        &labelled("service: {resource: service.name}"),
        &["rules[0].labels.service: has no bound; give `one_of`, `map`, `class`, or `max`"],
    );
    check(
        &labelled("a: {attribute: a, one_of: [b], class: http_status}"),
        &["rules[0].labels.a: has 2 bounds; give one"],
    );
    check(
        &labelled("a: {attribute: a, one_of: []}"),
        &["rules[0].labels.a.one_of: is empty; give at least one value"],
    );
    check(
        &labelled("a: {resource: a, max: 1001}"),
        &["rules[0].labels.a.max: is out of range; give a number from 1 to 1000"],
    );
    check(
        &labelled("a: {resource: a, max: 5, absent: {resource: b, max: 5}}"),
        &["rules[0].labels.a.absent: has a `max` of its own; give `one_of`, `map` or `class`"],
    );
    check(
        &labelled("a: {attribute: a, one_of: [1], absent: {resource: b, one_of: [1]}}"),
        &[
            "rules[0].labels.a.absent: mixes a resource with what its records say; look at resources in both, or in none",
        ],
    );
    let many: Vec<String> = (0..1001).map(|number| number.to_string()).collect();
    check(
        &labelled(&format!("a: {{attribute: a, one_of: [{}]}}", many.join(", "))),
        &["rules[0].labels.a: has more than 1000 values; name fewer"],
    );
    check(
        &labelled("a: {attribute: a, one_of: [\"\"]}"),
        &[
            "rules[0].labels.a: is no value for a label: empty, too long, or with control characters; give 1 to 128 bytes of text",
        ],
    );
    check(
        &labelled("a: {field: span_kind}"),
        &["rules[0].labels.a.field: is a field of traces; name one of logs"],
    );
    let seven: Vec<String> = (0..7).map(|number| format!("a{number}: {{field: severity}}")).collect();
    check(
        &labelled(&seven.join(", ")),
        &["rules[0].labels: has more than 6 labels; leave out what no panel or alert asks for"],
    );
}

#[test]
fn a_label_may_look_elsewhere_where_its_attribute_is_absent() {
    let yaml = "
rules:
  - name: a_total
    help: Counts.
    from: traces
    kind: counter
    labels: {class: {attribute: status, class: http_status, absent: {field: span_status}, otherwise: none}}
";
    let rules = read(yaml).unwrap();
    let choice = &rules[0].labels[0].choice;
    assert_eq!((&choice.values, choice.otherwise.as_str()), (&Values::HttpStatus, "none"));
    assert_eq!(choice.absent.as_ref().unwrap().source, Source::Field(Field::SpanStatus));
}

#[test]
fn names_that_prometheus_would_change_are_refused() {
    let named = |name: &str, kind: &str, unit: &str| {
        let rest = if kind == "counter" { "" } else { ", value: {field: duration}, buckets: [1]" };
        let from = if kind == "counter" { "logs" } else { "traces" };
        problems(&format!(
            "rules: [{{name: '{name}', help: Counts., unit: '{unit}', from: {from}, kind: {kind}{rest}}}]"
        ))
    };
    for (name, kind, unit) in [
        ("requests", "counter", ""),
        ("menu.requests_total", "counter", ""),
        ("menu__requests_total", "counter", ""),
        ("1_total", "counter", ""),
        ("r\u{e9}_total", "counter", ""),
        ("read_total", "counter", "By"),
        ("a_seconds_count", "histogram", "s"),
        ("a_seconds_total", "histogram", "s"),
        ("a", "histogram", "s"),
    ] {
        let found = named(name, kind, unit);
        assert!(found.len() == 1 && found[0].starts_with("rules[0].name: "), "{name}: {found:?}");
    }
    assert_eq!(
        named("read_total", "counter", "By")[0].rsplit("; ").next(),
        Some("name it `read_bytes_total`")
    );
    assert!(named("read_bytes_total", "counter", "By").is_empty());
    assert!(named("a_seconds", "histogram", "s").is_empty());
    for label in ["le", "job", "instance", "__name__", "a.b", "1"] {
        let found = problems(&labelled(&format!("'{label}': {{field: severity}}")));
        assert!(found.len() == 1 && found[0].starts_with("rules[0].labels."), "{label}: {found:?}");
    }
}

#[test]
fn a_counter_must_not_be_what_a_histogram_becomes() {
    let histogram = "{name: a_seconds, help: M., unit: s, from: traces, kind: histogram, value: {field: duration}, buckets: [1]}";
    let twice = format!("rules: [{histogram}, {histogram}]");
    let makes = "which rules[0] makes too; give it a name of its own";
    check(&twice, &[&format!("rules[1].name: makes the series `a_seconds`, {makes}")]);
    let other = histogram.replace("a_seconds", "b_seconds");
    assert!(problems(&format!("rules: [{histogram}, {other}]")).is_empty());
}

#[test]
fn buckets_have_to_grow() {
    let duration = "value: {field: duration}";
    for buckets in ["[1, 1]", "[2, 1]", "[-1, 1]"] {
        check(
            &histogram(&format!("{duration}, buckets: {buckets}")),
            &["rules[0].buckets: do not grow; give bounds of 0 or more, each above the one before it"],
        );
    }
    check(
        &histogram(&format!("{duration}, buckets: []")),
        &["rules[0].buckets: holds 0 bounds; give 1 to 64"],
    );
    check(
        &histogram(duration),
        &["rules[0].buckets: is required and missing; give upper bounds, such as `[0.1, 1, 10]`"],
    );
}

#[test]
fn a_histogram_says_what_it_measures_and_a_counter_measures_nothing() {
    check(
        &histogram("buckets: [1]"),
        &["rules[0].value: is required and missing; say what is measured: `{attribute: …}`"],
    );
    check(
        &histogram("buckets: [1], value: {attribute: a, scale: 0}"),
        &["rules[0].value.scale: is not above 0; give the factor between both units"],
    );
    check(
        &format!("{RIGHT}    exemplars: true\n"),
        &["rules[0].exemplars: is a matter of histograms; remove it, or make it a histogram"],
    );
    let of_logs = "rules: [{name: a_seconds, help: M., unit: s, from: logs, kind: histogram, value: {field: duration}, buckets: [1]}]";
    check(of_logs, &["rules[0].value.field: is a field of traces; name an attribute"]);
}

#[test]
fn conditions_of_the_other_signal_are_refused() {
    check(
        &format!("{RIGHT}    match: {{span_kind: [server], parsed: true}}\n"),
        &["rules[0].match.span_kind: is a matter of traces; remove it"],
    );
    check(
        &format!("{RIGHT}    match: {{severity: {{from: 17, to: 9}}}}\n"),
        &[
            "rules[0].match.severity: is no range of severities; give numbers from 0 to 24, `from` not above `to`",
        ],
    );
    check(
        &format!(
            "{RIGHT}    match: {{attributes: {{a: {{from: 2, to: 1}}, b: {{prefix: x, one_of: [y]}}}}}}\n"
        ),
        &[
            "rules[0].match.attributes.a: is no range; give whole numbers, `from` not above `to`",
            "rules[0].match.attributes.b: is no condition; give a value, or a mapping with one of `one_of`, `prefix`, `present`, or `from` and `to`",
        ],
    );
}

#[test]
fn what_is_kept_of_a_record_is_bounded() {
    let keys: Vec<String> = (0..=MOST_ATTRIBUTES).map(|number| format!("k{number}")).collect();
    check(
        &format!("{RIGHT}    match: {{any_present: [{}]}}\n", keys.join(", ")),
        &["rules: those of logs look at 33 attributes; look at 32 at most"],
    );
    check(
        &format!("{RIGHT}    max_series: 0\n"),
        &["rules[0].max_series: is out of range; give a number from 1 to 100000"],
    );
}
