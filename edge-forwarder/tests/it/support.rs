//! An edge on free ports, its topics, and the senders that the tests use.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use devstack::{Part, Stack, StackOptions};
use edge_forwarder::{App, Config, budget::MemoryBudget};
use kafka_client::{
    ConnectionConfig, Consumer, ConsumerConfig, ConsumerEvent, Record,
    admin::{self, TopicSpec},
};
use reqwest::{Client, RequestBuilder, Response, header::HeaderMap};
use service_runtime::{CancellationToken, Runtime, Settings};
use telemetry_wire::{Signal, dead_letter_topic};
use tokio::task::JoinHandle;

/// Longer than anything here takes on a loaded machine; reached only when something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An address where nothing listens: port 1 of loopback.
pub(crate) const NO_BROKER: &str = "127.0.0.1:1";

/// A running edge.
pub(crate) struct Edge {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) budget: MemoryBudget,
    pub(crate) runtime: Runtime,
    pub(crate) topics: Topics,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

/// The topics of one test, which no other test has.
#[derive(Clone)]
pub(crate) struct Topics {
    pub(crate) brokers: String,
    prefix: String,
}

/// What an answer was, once it has been read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// The broker of this run: the one named by `KAFKA_BROKERS`, else one that ends with this process. The edge needs no other server.
fn shared_broker() -> &'static str {
    static BROKER: LazyLock<Stack> = LazyLock::new(|| {
        Stack::up(StackOptions { parts: vec![Part::Kafka], ..StackOptions::default() }).unwrap()
    });
    &BROKER.endpoints().kafka_brokers
}

impl Topics {
    pub(crate) fn at(brokers: &str) -> Topics {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("edge-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Topics { brokers: brokers.to_owned(), prefix }
    }

    /// The topics of a test at the shared broker, created.
    pub(crate) async fn create() -> Topics {
        Topics::create_at(tokio::task::spawn_blocking(shared_broker).await.unwrap()).await
    }

    pub(crate) async fn create_at(brokers: &str) -> Topics {
        let topics = Topics::at(brokers);
        let specs: Vec<_> = Signal::ALL
            .map(|signal| topics.of(signal))
            .into_iter()
            .flat_map(|topic| [TopicSpec::new(&topic, 3), TopicSpec::new(dead_letter_topic(&topic), 1)])
            .collect();
        admin::create_topics(&topics.connection(), &specs).await.unwrap();
        topics
    }

    pub(crate) fn of(&self, signal: Signal) -> String {
        format!("{}-{signal}", self.prefix)
    }

    pub(crate) fn connection(&self) -> ConnectionConfig {
        ConnectionConfig::plaintext(&[&self.brokers], "test")
    }

    /// Records in a topic, over all partitions.
    pub(crate) async fn count(&self, topic: &str) -> i64 {
        let partitions = admin::watermarks(&self.connection(), topic).await.unwrap();
        partitions.iter().map(|partition| partition.high - partition.low).sum()
    }

    /// Every record of a topic.
    pub(crate) async fn read(&self, topic: &str) -> Vec<Record> {
        let count = usize::try_from(self.count(topic).await).unwrap();
        let config = ConsumerConfig::new(self.connection(), &format!("{}-reader-{topic}", self.prefix));
        let (consumer, mut events) = Consumer::start(&config, &[topic]).unwrap();
        let mut records = Vec::new();
        while records.len() < count {
            match within("a record", events.recv()).await.unwrap() {
                ConsumerEvent::Assigned { ack, .. } => ack.ack(),
                ConsumerEvent::Record(record) => records.push(record),
                ConsumerEvent::Error(error) => panic!("{error}"),
                _ => {}
            }
        }
        drop(events);
        within("the reader's end", consumer.shutdown()).await;
        records
    }
}

impl Edge {
    /// An edge whose broker is the shared one, with topics of its own, once it is ready.
    pub(crate) async fn ready(more: &str) -> Edge {
        let edge = Edge::start(Topics::create().await, more).await;
        assert!(
            edge.runtime.readiness().wait_ready(PATIENCE).await,
            "{:?}",
            edge.runtime.readiness().report()
        );
        edge
    }

    /// An edge without a broker.
    pub(crate) async fn without_broker(more: &str) -> Edge {
        Edge::start(Topics::at(NO_BROKER), more).await
    }

    /// Starts an edge; `more` is YAML at the top level of its configuration.
    pub(crate) async fn start(topics: Topics, more: &str) -> Edge {
        // Shown when a test fails.
        let _ = tracing_subscriber::fmt().with_test_writer().with_ansi(false).try_init();
        let [logs, traces, metrics] = Signal::ALL.map(|signal| topics.of(signal));
        let environment = [
            ("EDGE__KAFKA__BROKERS", topics.brokers.as_str()),
            ("EDGE__RECEIVERS__GRPC__LISTEN", "127.0.0.1:0"),
            ("EDGE__RECEIVERS__HTTP__LISTEN", "127.0.0.1:0"),
            ("EDGE__PUBLISHER__EDGE_ID", "edge-under-test"),
            ("EDGE__PUBLISHER__LOGS__TOPIC", &logs),
            ("EDGE__PUBLISHER__TRACES__TOPIC", &traces),
            ("EDGE__PUBLISHER__METRICS__TOPIC", &metrics),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut settings = Settings::from_yaml("EDGE", more, environment);
        let config = Config::read(&mut settings.root());
        settings.finish().unwrap();
        let runtime = Runtime::detached();
        let app = App::build(config, runtime.clone()).await.unwrap();
        let (grpc, http) = (app.grpc_address().unwrap(), app.http_address().unwrap());
        let (budget, shutdown) = (app.budget(), runtime.shutdown());
        Edge { grpc, http, budget, runtime, topics, shutdown, running: tokio::spawn(app.run()) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// An OTLP/HTTP request that has yet to get its body.
    pub(crate) fn http_post(&self, signal: Signal, content_type: &str) -> RequestBuilder {
        Client::new().post(self.url(signal.http_path())).header("content-type", content_type)
    }

    /// Sends bytes as the body of a gRPC call, framed by the caller.
    pub(crate) async fn grpc_raw(
        &self,
        path: &str,
        encoding: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let client = Client::builder().http2_prior_knowledge().build().unwrap();
        let mut request = client
            .post(format!("http://{}{path}", self.grpc))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(encoding) = encoding {
            request = request.header("grpc-encoding", encoding);
        }
        Answer::of(request.body(body)).await
    }

    /// Stops the edge and waits for its end.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        within("the edge's end", self.running).await.unwrap().unwrap();
        assert_eq!(self.budget.used(), 0, "budget held after the end");
    }

    pub(crate) fn begin_shutdown(&self) {
        self.shutdown.cancel();
    }

    /// The value of a metric, summed over the label sets that hold `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.runtime.encode_metrics().unwrap();
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines = text.lines().filter(of_name).filter(|line| line.contains(labels));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Every item that was received, or found on the disk, is acked, dead-lettered, refused or on the disk, and none is in flight.
    pub(crate) fn assert_conserved(&self) {
        for signal in Signal::ALL {
            let labels = format!("signal=\"{signal}\"");
            let sum = |names: &[&str]| -> f64 { names.iter().map(|name| self.metric(name, &labels)).sum() };
            let received = sum(&["edge_receiver_items_total", "edge_spool_recovered_items"]);
            let settled = sum(&[
                "edge_publisher_acked_items_total",
                "edge_publisher_dead_lettered_items_total",
                "edge_publisher_refused_items_total",
                "edge_spool_pending_items",
                "edge_spool_dropped_items_total",
                "edge_spool_corrupt_items_total",
            ]);
            let in_flight = sum(&["edge_publisher_in_flight_items", "edge_publisher_in_flight_bytes"]);
            assert_eq!((received, in_flight), (settled, 0.0), "{signal}");
        }
    }
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Answer {
        let response: Response = within("an answer", request.send()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = within("its body", response.bytes()).await.unwrap().to_vec();
        Answer { status, headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Waits for something that must come.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Waits for a condition that must come true.
pub(crate) async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_true().await {
        assert!(started.elapsed() < PATIENCE, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
