//! The drill's load: log records that bear the moment at which they were sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;
use telemetry_wire::Signal;
use tokio::task::JoinHandle;

use crate::Line;
use crate::sender::{Answer, Sender};

/// Log records of a request.
const ITEMS: u64 = 20;
/// How far back the history goes.
const HISTORY: Duration = Duration::from_secs(2 * 3600);

/// A request whose log records are from this moment on, a nanosecond apart.
fn request(unix_nano: u64, number: u64) -> Vec<u8> {
    let record = |item: u64| LogRecord {
        time_unix_nano: unix_nano + item,
        body: Some(AnyValue { value: Some(Value::StringValue(format!("drill {number} {item}"))) }),
        ..LogRecord::default()
    };
    let scope_logs =
        vec![ScopeLogs { log_records: (0..ITEMS).map(record).collect(), ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// When the first log record of a request was made, in nanoseconds since the epoch.
pub(super) fn sent_at(request: &[u8]) -> Option<u64> {
    let request = ExportLogsServiceRequest::decode(request).ok()?;
    Some(request.resource_logs.first()?.scope_logs.first()?.log_records.first()?.time_unix_nano)
}

pub(super) fn now() -> u64 {
    u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0)
}

async fn send(sender: &Sender, body: Vec<u8>) -> Result<u64> {
    loop {
        match sender.send_http(Signal::Logs, body.clone()).await {
            Answer::Acked => return Ok(ITEMS),
            Answer::Retryable(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => bail!("the edge answers {answer:?}"),
        }
    }
}

/// Sends so many requests, spread over the last two hours; how many log records that were.
pub(super) async fn send_history(line: &Line, requests: u64) -> Result<u64> {
    let (sender, begin) = (line.sender()?, now() - u64::try_from(HISTORY.as_nanos())?);
    let step = u64::try_from(HISTORY.as_nanos())? / requests.max(1);
    let mut sent = 0;
    for number in 0..requests {
        sent += send(&sender, request(begin + number * step, number)).await?;
    }
    Ok(sent)
}

/// Load that goes on until it is stopped.
#[derive(Debug)]
pub(super) struct Stream {
    task: JoinHandle<Result<u64>>,
    is_over: Arc<AtomicBool>,
}

impl Stream {
    /// So many requests a second.
    pub(super) fn start(line: &Line, rate: u32) -> Result<Stream> {
        let (sender, is_over) = (line.sender()?, Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&is_over);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
            let (mut sent, mut number) = (0, 1_000_000);
            while !ended.load(Ordering::Relaxed) {
                ticks.tick().await;
                sent += send(&sender, request(now(), number)).await?;
                number += 1;
            }
            Ok(sent)
        });
        Ok(Stream { task, is_over })
    }

    /// Ends it; how many log records were acked.
    pub(super) async fn stop(self) -> Result<u64> {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.context("the load failed")?
    }
}
