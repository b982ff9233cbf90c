//! The configuration: its defaults, a full file, and every rule that binds its fields, each with key path and remedy.

use service_runtime::Settings;

use super::*;

const BROKERS: &str = "kafka: {brokers: ['broker:9092']}\n";

fn read(yaml: &str) -> Result<Config, String> {
    let mut settings = Settings::from_yaml("EDGE", yaml, []);
    let config = Config::read(&mut settings.root());
    settings.finish().map_err(|problems| problems.to_string())?;
    Ok(config)
}

/// `yaml`, added to the brokers, is refused with exactly one line, which begins with `path` and holds `what`.
fn check_refused(yaml: &str, path: &str, what: &str) {
    let problems = read(&format!("{BROKERS}{yaml}")).unwrap_err();
    let lines: Vec<_> = problems.lines().filter(|line| line.contains(path)).collect();
    assert!(lines.len() == 1 && lines[0].contains(what), "{yaml}: {problems}");
}

#[test]
fn brokers_are_all_that_is_needed() {
    let config = read(BROKERS).unwrap();
    assert_eq!(config.receivers.grpc_listen.port(), 4317);
    assert_eq!(config.receivers.http_listen.port(), 4318);
    let topics = config.publisher.routes.each_ref().map(|route| route.topic.as_str());
    assert_eq!(topics, ["otlp_logs", "otlp_spans", "otlp_metrics"]);
    assert!(config.publisher.routes.iter().all(|route| route.key == KeyRule::None));
    assert!(!config.publisher.edge_id.is_empty());
}

#[test]
fn every_key_can_be_set() {
    let config = read(
        "kafka: {brokers: ['a:1', 'b:2'], producer: {max_message_bytes: 500kB}}
memory: {max_bytes: 8MiB}
receivers:
  grpc: {listen: '127.0.0.1:0'}
  max_request_bytes: 1MiB
  max_depth: 20
  body_timeout: 3s
  retry_delay: 250ms
publisher:
  edge_id: edge-1
  partitioner: murmur2
  traces: {topic: spans, key: trace_id}
  logs: {key: attributes, key_attributes: [service.name]}
",
    )
    .unwrap();
    assert_eq!(config.receivers.body_limits().max_bytes, 1 << 20);
    assert_eq!(config.receivers.retry_delay, Duration::from_millis(250));
    assert_eq!(config.publisher.edge_id, "edge-1");
    assert_eq!(config.publisher.partitioner, Partitioner::Murmur2);
    assert_eq!(config.publisher.max_value_bytes(), 500_000 - RECORD_OVERHEAD);
    assert_eq!(
        *config.publisher.route(Signal::Traces),
        RouteConfig { topic: "spans".into(), key: KeyRule::TraceId }
    );
    let by_service = KeyRule::Attributes(vec!["service.name".into()]);
    assert_eq!(config.publisher.route(Signal::Logs).key, by_service);
}

#[test]
fn a_budget_that_cannot_hold_the_largest_request_is_refused() {
    check_refused(
        "receivers: {max_request_bytes: 1KiB}\nmemory: {max_bytes: 1023KiB}",
        "memory.max_bytes",
        "1048576 bytes",
    );
    check_refused("memory: {max_bytes: 79MiB}", "memory.max_bytes", "5 × receivers.max_request_bytes");
}

#[test]
fn values_out_of_bounds_are_refused() {
    check_refused(
        "receivers: {max_request_bytes: 2GiB}\nmemory: {max_bytes: 10GiB}",
        "receivers.max_request_bytes",
        "1KiB to 1GiB",
    );
    check_refused("receivers: {max_depth: 7}", "receivers.max_depth", "from 8 to");
    check_refused("receivers: {body_timeout: 0s}", "receivers.body_timeout", "zero");
    check_refused("publisher: {edge_id: ''}", "publisher.edge_id", "0 bytes");
    check_refused("publisher: {logs: {topic: 'a/b'}}", "publisher.logs.topic", "not a topic name");
}

#[test]
fn pages_are_named_by_their_origin() {
    let cors = |keys: &str| format!("receivers: {{http: {{cors: {{{keys}}}}}}}");
    let page = "receivers.http.cors.allowed_origins";
    check_refused(&cors("allowed_origins: ['https://shop.example/']"), page, "not an origin");
    check_refused(
        &cors("allowed_headers: ['x tenant']"),
        "receivers.http.cors.allowed_headers",
        "`x tenant`",
    );
    assert!(read(BROKERS).unwrap().receivers.cors.is_none(), "no page may send unless one is named");
    let any = format!("{BROKERS}{}", cors("allowed_origins: ['*'], allowed_headers: ['*']"));
    assert!(matches!(read(&any).unwrap().receivers.cors.unwrap().headers, AllowedHeaders::Any));
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    check_refused("publisher: {logs: {key: attributes}}", "publisher.logs.key_attributes", "need each other");
    check_refused(
        "publisher: {logs: {key_attributes: [a]}}",
        "publisher.logs.key_attributes",
        "need each other",
    );
    check_refused("publisher: {metrics: {key: trace_id}}", "publisher.metrics.key", "no trace id");
    check_refused("publisher: {partitioner: murmur3}", "publisher.partitioner", "did you mean `murmur2`");
}
