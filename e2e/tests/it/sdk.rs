//! An unmodified OpenTelemetry SDK of another language sends all three signals and finds them stored.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{line, servers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_finds_what_it_sent_over_grpc_and_http() {
    const COUNT: u64 = 200;
    let python = tokio::task::spawn_blocking(python).await.unwrap();
    let (line, _directory) = line(servers().await, "python").await;
    let ways = [
        ("grpc", line.edge_grpc_url(), false),
        ("grpc", line.edge_grpc_url(), true),
        ("http", line.edge_http_url(), false),
        ("http", line.edge_http_url(), true),
    ];
    for (number, (protocol, endpoint, gzip)) in ways.iter().enumerate() {
        let mut script = Command::new(&python);
        script.arg(folder().join("send.py")).args(["--protocol", protocol, "--endpoint", endpoint]);
        script.args(["--service", &format!("python-{number}"), "--count", &COUNT.to_string()]);
        if *gzip {
            script.arg("--gzip");
        }
        let output = tokio::task::spawn_blocking(move || script.output()).await.unwrap().unwrap();
        assert!(
            output.status.success(),
            "{protocol} gzip={gzip}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let sent: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(sent["logs"], COUNT);
    }
    let all = COUNT * ways.len() as u64;
    line.wait_for_rows("otel_logs", all).await.unwrap();
    line.wait_for_rows("otel_traces", all).await.unwrap();

    let clickhouse = line.clickhouse();
    for number in 0..ways.len() {
        let service = format!("python-{number}");
        let joined = clickhouse
            .number(&format!(
                "SELECT uniqExact(LogAttributes['menu.item']) FROM otel_logs AS l INNER JOIN otel_traces AS t ON l.TraceId = t.TraceId AND l.SpanId = t.SpanId \
                 WHERE l.ServiceName = '{service}' AND l.SeverityText = 'WARN' AND l.Body = concat('item ', SpanAttributes['menu.item'], ' viewed')"
            ))
            .await
            .unwrap();
        assert_eq!(joined, COUNT, "every log record of {service} belongs to its span");
        let errors = clickhouse
            .number(&format!("SELECT count() FROM otel_traces WHERE ServiceName = '{service}' AND StatusCode = 'Error' AND Events.Name = ['refused']"))
            .await
            .unwrap();
        assert_eq!(errors, COUNT / 10);
    }
    let mimir = line.mimir();
    e2e::line::wait_for("the views of every run", async || {
        let views = mimir.number(r#"sum({__name__=~"menu_views.*"})"#).await?;
        #[allow(clippy::cast_precision_loss, reason = "small")]
        Ok(if (views - all as f64).abs() < f64::EPSILON { Ok(()) } else { Err(format!("{views} of {all}")) })
    })
    .await
    .unwrap();
}

/// The interpreter of an environment that holds exactly `requirements.txt`, kept in the cache.
fn python() -> PathBuf {
    let requirements = folder().join("requirements.txt");
    let text = std::fs::read_to_string(&requirements).expect("the requirements can be read");
    let home = devstack::Cache::from_env().root().join("python-sdk");
    let interpreter = home.join("bin/python");
    let marker = home.join("installed.txt");
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == text) {
        return interpreter;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
    run(Command::new(&interpreter)
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(&requirements));
    std::fs::write(&marker, text).expect("the marker can be written");
    interpreter
}

fn run(command: &mut Command) {
    let output = command.output().expect("python3 and its venv module are installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}
