//! Bounds of series, and totals over blocks that end in every way.

use proptest::prelude::*;
use prost::Message as _;
use telemetry_wire::fixtures::menu::{Answer, Menu, request_of};

use super::*;

#[test]
fn a_label_takes_so_many_values_as_they_come_and_then_others() {
    let deriving =
        deriving(&counter("labels: {service: {resource: service.name, max: 2, otherwise: unknown}}"));
    let of = |service: &str| logs_of(service, vec![log(Vec::new())]);
    let long = "x".repeat(10_000);
    for service in ["a", "b", "c", "a", "other", "", &long, "unknown"] {
        count::<LogRows>(&deriving, Signal::Logs, &[of(service)]);
    }
    let series = |service: &str, count| (format!("n_total{{service={service}}}"), vec![count]);
    let expected = [series("a", 2), series("b", 1), series("other", 3), series("unknown", 2)];
    assert_eq!(counted(&deriving), expected.into());
    assert_eq!(deriving.metrics.overflows_of("n_total"), 2, "`c` and the long one; `other` is a name as any");
}

#[test]
fn a_rule_makes_so_many_series_and_one_more_for_the_rest() {
    let rule = counter("max_series: 2, labels: {a: {attribute: a, one_of: [1, 2, 3, 4, 5]}}");
    let record = |value| log(vec![attribute("a", Value::IntValue(value))]);
    let deriving = deriving(&rule);
    count::<LogRows>(&deriving, Signal::Logs, &[logs_of("s", vec![record(1), record(2)])]);
    count::<LogRows>(&deriving, Signal::Logs, &[logs_of("s", (1..=5).map(record).collect())]);
    let series = |value: &str, count| (format!("n_total{{a={value}}}"), vec![count]);
    assert_eq!(counted(&deriving), [series("1", 2), series("2", 2), series("other", 3)].into());
    assert_eq!(deriving.metrics.overflows_of("n_total"), 3);
    assert_eq!(deriving.metrics.series_of("n_total"), 3);
}

#[test]
fn a_record_that_cannot_be_decoded_adds_nothing() {
    let deriving = shipped();
    let mut menu = Menu::new(3);
    let (first, second) = (menu.lines(5).encode_to_vec(), menu.lines(5).encode_to_vec());
    let others = logs_of("menu-api", vec![line("/health", Value::IntValue(200))]);
    let mut block = block::<LogRows>(&deriving, Signal::Logs);
    block.push(&first, source(0)).unwrap();
    for cut in (1..second.len()).rev().step_by(7) {
        let mut damaged = others.clone();
        damaged.extend_from_slice(&second[..cut]);
        if block.push(&damaged, source(1)).is_ok() {
            // What is left is a request as any; it would count.
            continue;
        }
    }
    let pushed = block.rows();
    block.push(&others, source(2)).unwrap();
    let tally = block.take_tally().unwrap();
    assert_eq!(tally.items as usize, pushed + 1);
    tally.count();
    assert_eq!(total(&deriving, "menu_log_lines_total"), pushed as u64 + 1);
    // The number of a resource that was rolled back is given to the next.
    let of_other = counted(&deriving);
    let of_other = of_other.keys().filter(|name| name.contains("service=menu-api")).count();
    assert!(of_other > 0);
}

#[test]
fn every_bucket_has_the_first_exemplar_of_a_block_and_the_latest_block_wins() {
    let deriving = shipped();
    let of = |trace: u8| {
        let mut line = line("/api/menu", Value::IntValue(200));
        line.trace_id = vec![trace; 16];
        line
    };
    let traces = |deriving: &Deriving| -> Vec<u8> {
        let copy = deriving.series.copy();
        let exemplars = copy.rules[1].list.iter().flat_map(|series| &series.exemplars);
        exemplars.map(|exemplar| exemplar.trace_id[0]).collect()
    };
    count::<LogRows>(&deriving, Signal::Logs, &[logs_of("mock-service", vec![of(0), of(1), of(2)])]);
    assert_eq!(traces(&deriving), [1], "an id of zeros is none");
    count::<LogRows>(&deriving, Signal::Logs, &[logs_of("mock-service", vec![of(3)])]);
    let copy = deriving.series.copy();
    count::<LogRows>(&deriving, Signal::Logs, &[logs_of("mock-service", vec![line("/health", text("200"))])]);
    assert_eq!(traces(&deriving), [3]);
    deriving.series.pushed(&copy);
    assert_eq!(traces(&deriving), [] as [u8; 0], "what was pushed is not sent again");
}

/// More signatures than are remembered at once, of integers and of texts that ask two questions.
#[test]
fn totals_are_right_when_log_records_hardly_ever_are_alike() {
    let rule = |key: &str| {
        format!(
            "{{name: {key}_total, help: Counts., from: logs, kind: counter, match: {{attributes: {{{key}: {{from: 0}}}}}}, \
             labels: {{{key}: {{attribute: {key}, one_of: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}}}}}"
        )
    };
    let deriving = deriving(&format!("rules: [{}]", ["a", "b", "c", "d"].map(rule).join(", ")));
    // Each comes twice, the second time known. Zeros are left out, so that some add to fewer series than others.
    let record = |number: i64| {
        let digit = |place: u32| number / 10_i64.pow(place) % 10;
        let (as_number, as_text) = (|digit| Value::IntValue(digit), |digit: i64| text(&digit.to_string()));
        let all = [
            ("a", digit(0), as_number(digit(0))),
            ("b", digit(1), as_text(digit(1))),
            ("c", digit(2), as_number(digit(2))),
            ("d", digit(3), as_text(digit(3))),
        ];
        let there = all.into_iter().filter(|(_, digit, _)| *digit > 0);
        log(there.map(|(key, _, value)| attribute(key, value)).collect())
    };
    count::<LogRows>(
        &deriving,
        Signal::Logs,
        &[logs_of("s", (0..20_000).map(|number| record(number / 2)).collect())],
    );
    let series = |key: &str, digit: u64| (format!("{key}_total{{{key}={digit}}}"), vec![2_000]);
    let expected =
        ["a", "b", "c", "d"].into_iter().flat_map(|key| (1..10).map(move |digit| series(key, digit)));
    assert_eq!(counted(&deriving), expected.collect());
}

#[test]
fn what_is_not_there_to_be_measured_is_neither_counted_nor_bad() {
    let rule = "rules: [{name: n_seconds, help: Measures., unit: s, from: logs, kind: histogram, value: {attribute: took, scale: 1}, \
                buckets: [1], labels: {class: {attribute: status, class: http_status}}}]";
    let deriving = deriving(rule);
    let took = attribute("took", Value::DoubleValue(0.5));
    let ok = attribute("status", Value::IntValue(200));
    let not_a_number = attribute("status", text("fine"));
    let records = vec![
        log(vec![ok.clone()]),
        log(vec![not_a_number.clone()]),
        log(vec![took.clone(), not_a_number]),
        log(vec![took, ok]),
    ];
    count::<LogRows>(&deriving, Signal::Logs, &[logs_of("s", records)]);
    assert_eq!(counted(&deriving), [("n_seconds{class=2xx}".to_owned(), vec![1, 0])].into());
    assert_eq!(deriving.metrics.bad_values_of("n_seconds"), 1);
}

/// What the shipped rules make of answers, counted plainly.
fn expected(answers: &[Answer]) -> Counted {
    let bounds = [
        0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
        0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];
    let mut counted = Counted::new();
    let mut add = |name: String, bucket: usize, buckets: usize| {
        counted.entry(name).or_insert_with(|| vec![0; buckets])[bucket] += 1;
    };
    for Answer { route, status, duration_ms, error, .. } in answers {
        let class = format!("{}xx", status / 100);
        let of_route = format!("route={route},service=mock-service");
        add(format!("menu_requests_total{{{of_route},status={status},status_class={class}}}"), 0, 1);
        let bucket = bounds.iter().filter(|bound| **bound < duration_ms * 0.001).count();
        add(format!("menu_request_duration_seconds{{{of_route},status_class={class}}}"), bucket, 20);
        if let Some(error) = error {
            add(format!("menu_failures_total{{error={error},{of_route}}}"), 0, 1);
        }
        add("menu_log_lines_total{parsed=true,service=mock-service}".to_owned(), 0, 1);
    }
    counted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However records are put into requests and blocks, and whatever poison lies between.
    #[test]
    fn totals_are_those_of_plain_counting_whatever_the_division(
        seed in any::<u64>(),
        requests in prop::collection::vec((1_usize..40, any::<bool>(), any::<bool>()), 1..20),
    ) {
        let deriving = shipped();
        let mut menu = Menu::new(seed);
        let mut answers = Vec::new();
        let mut block = block::<LogRows>(&deriving, Signal::Logs);
        for (number, (lines, poisoned, ends)) in requests.into_iter().enumerate() {
            let of_request: Vec<Answer> = (0..lines).map(|_| menu.answer()).collect();
            let records = of_request.iter().map(|answer| menu.line(answer)).collect();
            let mut request = request_of(records).encode_to_vec();
            if poisoned {
                request.extend_from_slice(b"\x0a\xff");
                prop_assert!(block.push(&request, source(number)).is_err());
            } else {
                block.push(&request, source(number)).unwrap();
                answers.extend(of_request);
            }
            if ends {
                block.take_tally().unwrap().count();
                block.clear();
            }
        }
        block.take_tally().unwrap().count();
        prop_assert_eq!(counted(&deriving), expected(&answers));
    }
}
