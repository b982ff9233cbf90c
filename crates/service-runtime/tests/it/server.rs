//! The HTTP server against clients that behave, clients that do not, and a stop under load.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{Request, StatusCode, Version},
    routing::post,
};
use http_body_util::BodyExt as _;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use service_runtime::{
    CancellationToken,
    http_server::{Drained, HttpServerConfig, serve},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// Long enough for any machine: a test that waits this long has failed.
const FAILSAFE: Duration = Duration::from_secs(60);

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    /// Requests that have reached the handler.
    begun: Arc<AtomicUsize>,
    /// Handlers answer once this is true.
    gate: watch::Sender<bool>,
    ended: JoinHandle<Drained>,
}

impl Server {
    async fn start(config: HttpServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, begun, gate) =
            (CancellationToken::new(), Arc::<AtomicUsize>::default(), watch::Sender::new(true));
        let router = Router::new().route("/", {
            let (begun, gate) = (Arc::clone(&begun), gate.clone());
            post(async move |body: String| {
                begun.fetch_add(1, Ordering::SeqCst);
                gate.subscribe().wait_for(|open| *open).await.expect("the sender is held here");
                format!("answer to {body}")
            })
        });
        let stopped = shutdown.clone();
        let ended = tokio::spawn(async move { serve(listener, router, &config, stopped).await });
        Self { address, shutdown, begun, gate, ended }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    async fn wait_for_begun(&self, count: usize) {
        let reached = async {
            while self.begun.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(FAILSAFE, reached).await.expect("the requests reach the handler");
    }

    /// Shuts down and waits for the end.
    async fn stop(self) -> Drained {
        self.shutdown.cancel();
        timeout(FAILSAFE, self.ended).await.expect("the server ends").unwrap()
    }
}

/// A client of one protocol; clones share their connections.
#[derive(Clone)]
struct Client(legacy::Client<HttpConnector, String>);

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    version: Version,
    text: String,
}

impl Client {
    fn http1() -> Self {
        Self(legacy::Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http())
    }

    fn http2() -> Self {
        Self(
            legacy::Client::builder(TokioExecutor::new())
                .retry_canceled_requests(false)
                .http2_only(true)
                .build_http(),
        )
    }

    /// The whole answer, or why there is none.
    async fn post(self, url: String, body: String) -> anyhow::Result<Answer> {
        let answer = self.0.request(Request::post(url).body(body)?).await?;
        let (head, body) = answer.into_parts();
        let text = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
        Ok(Answer { status: head.status, version: head.version, text })
    }
}

/// The client behaves so; the server must close the connection by itself.
async fn check_closed_after_header_timeout(start: &[u8], then_each: Option<u8>) {
    let config =
        HttpServerConfig { header_timeout: Duration::from_millis(100), ..HttpServerConfig::default() };
    let server = Server::start(config).await;
    let (mut reader, mut writer) = TcpStream::connect(server.address).await.unwrap().into_split();
    writer.write_all(start).await.unwrap();
    let drip = tokio::spawn(async move {
        while let Some(byte) = then_each {
            if writer.write_all(&[byte]).await.is_err() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Not dropped: the server must not see an end.
        Some(writer)
    });
    let closed = timeout(FAILSAFE, reader.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "still open after {FAILSAFE:?}: {:?}", String::from_utf8_lossy(start));
    drip.abort();
    assert_eq!(server.begun.load(Ordering::SeqCst), 0);
    assert_eq!(server.stop().await, Drained { abandoned: 0 });
}

#[tokio::test]
async fn both_protocols_are_served_on_one_port() {
    let server = Server::start(HttpServerConfig::default()).await;
    for (client, version) in [(Client::http1(), Version::HTTP_11), (Client::http2(), Version::HTTP_2)] {
        let answer = client.post(server.url(), "one".to_owned()).await.unwrap();
        assert_eq!((answer.status, answer.version), (StatusCode::OK, version));
        assert_eq!(answer.text, "answer to one");
    }
    assert_eq!(server.stop().await, Drained { abandoned: 0 });
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    check_closed_after_header_timeout(b"", None).await;
}

#[tokio::test]
async fn a_client_that_stops_within_the_http2_preface_is_closed() {
    check_closed_after_header_timeout(b"PRI * HT", None).await;
}

#[tokio::test]
async fn a_client_that_could_still_mean_either_protocol_is_closed() {
    check_closed_after_header_timeout(b"P", None).await;
}

#[tokio::test]
async fn a_slow_loris_is_closed() {
    check_closed_after_header_timeout(b"POST / HTTP/1.1\r\nhost: a\r\nx-slow: ", Some(b'a')).await;
}

#[tokio::test]
async fn past_the_cap_of_connections_new_ones_wait_their_turn() {
    let config = HttpServerConfig { max_connections: NonZeroUsize::MIN, ..HttpServerConfig::default() };
    let server = Server::start(config).await;
    let first = Client::http1();
    let post_first = async || first.clone().post(server.url(), "first".to_owned()).await.unwrap();
    post_first().await;
    let waiting = tokio::spawn(Client::http1().post(server.url(), "second".to_owned()));
    for _ in 0..50 {
        post_first().await;
    }
    assert_eq!(server.begun.load(Ordering::SeqCst), 51, "only the first connection is served");
    drop(first);
    let answer = timeout(FAILSAFE, waiting).await.expect("the freed slot is taken").unwrap().unwrap();
    assert_eq!(answer.text, "answer to second");
    assert_eq!(server.stop().await, Drained { abandoned: 0 });
}

#[tokio::test]
async fn a_stop_answers_every_request_in_hand_and_takes_no_new_connection() {
    const EACH: usize = 20;
    let server = Server::start(HttpServerConfig::default()).await;
    server.gate.send_replace(false);
    let mut requests = JoinSet::new();
    let shared = Client::http2();
    for index in 0..EACH {
        requests.spawn(Client::http1().post(server.url(), format!("one {index}")));
        requests.spawn(shared.clone().post(server.url(), format!("two {index}")));
    }
    server.wait_for_begun(2 * EACH).await;
    server.shutdown.cancel();
    let refused = async { while TcpStream::connect(server.address).await.is_ok() {} };
    timeout(FAILSAFE, refused).await.expect("the listener closes while the requests are still in hand");
    assert!(!server.ended.is_finished());
    server.gate.send_replace(true);
    let mut answers = Vec::new();
    while let Some(answer) = requests.join_next().await {
        answers.push(answer.unwrap().unwrap().text);
    }
    assert_eq!(answers.len(), 2 * EACH);
    assert!(answers.iter().all(|answer| answer.starts_with("answer to ")), "{answers:?}");
    assert_eq!(server.stop().await, Drained { abandoned: 0 });
}

/// Each client sends one request after the other until one fails; returns how many were answered.
async fn hammer(client: Client, url: String) -> usize {
    let mut answered = 0;
    while let Ok(answer) = client.clone().post(url.clone(), "load".to_owned()).await {
        assert_eq!(answer.text, "answer to load");
        answered += 1;
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_every_request_that_reached_the_handler_is_answered() {
    for _ in 0..5 {
        let server = Server::start(HttpServerConfig::default()).await;
        let mut clients = JoinSet::new();
        for index in 0..8 {
            let client = if index % 2 == 0 { Client::http1() } else { Client::http2() };
            clients.spawn(hammer(client, server.url()));
        }
        server.wait_for_begun(200).await;
        let begun = Arc::clone(&server.begun);
        assert_eq!(server.stop().await, Drained { abandoned: 0 });
        let answered: usize = clients.join_all().await.into_iter().sum();
        assert_eq!(answered, begun.load(Ordering::SeqCst));
    }
}

#[tokio::test]
async fn what_is_not_done_within_the_drain_time_is_cut_off_and_counted() {
    let config = HttpServerConfig { drain_timeout: Duration::from_millis(50), ..HttpServerConfig::default() };
    let server = Server::start(config).await;
    server.gate.send_replace(false);
    let request = tokio::spawn(Client::http1().post(server.url(), "never".to_owned()));
    server.wait_for_begun(1).await;
    assert_eq!(server.stop().await, Drained { abandoned: 1 });
    assert!(request.await.unwrap().is_err(), "a request that was cut off must not look answered");
}

/// An HTTP/2 connection that is open and asks for nothing; its end is the server's doing.
async fn idle_http2(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The preface, empty settings, and no more.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    stream
}

async fn is_closed(stream: &mut TcpStream) {
    let closed = timeout(FAILSAFE, stream.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "still open after {FAILSAFE:?}");
}

#[tokio::test]
async fn an_idle_http2_connection_is_ended() {
    let max_connection_idle = Duration::from_millis(100);
    let server = Server::start(HttpServerConfig { max_connection_idle, ..HttpServerConfig::default() }).await;
    is_closed(&mut idle_http2(&server).await).await;
    let client = Client::http2();
    for _ in 0..3 {
        let answer = client.clone().post(server.url(), "again".to_owned()).await.unwrap();
        assert_eq!(answer.text, "answer to again", "its sender connects anew");
        tokio::time::sleep(2 * max_connection_idle).await;
    }
    assert_eq!(server.stop().await, Drained { abandoned: 0 });
}

#[tokio::test]
async fn an_old_http2_connection_is_ended_and_what_is_in_hand_on_it_is_answered() {
    let max_connection_age = Duration::from_millis(300);
    let server = Server::start(HttpServerConfig { max_connection_age, ..HttpServerConfig::default() }).await;
    server.gate.send_replace(false);
    let request = tokio::spawn(Client::http2().post(server.url(), "long".to_owned()));
    server.wait_for_begun(1).await;
    tokio::time::sleep(2 * max_connection_age).await;
    server.gate.send_replace(true);
    assert_eq!(request.await.unwrap().unwrap().text, "answer to long");
    assert_eq!(server.stop().await, Drained { abandoned: 0 });
}

#[tokio::test]
async fn when_all_connections_are_taken_the_idlest_makes_room() {
    let max_connections = NonZeroUsize::new(4).unwrap();
    let max_connections_per_peer = Some(max_connections);
    let config =
        HttpServerConfig { max_connections, max_connections_per_peer, ..HttpServerConfig::default() };
    let server = Server::start(config).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(idle_http2(&server).await);
    }
    let answer = timeout(FAILSAFE, Client::http1().post(server.url(), "new".to_owned()));
    assert_eq!(answer.await.expect("a slot is freed").unwrap().text, "answer to new");
    is_closed(&mut idle[0]).await;
    drop(idle);
    assert_eq!(server.stop().await, Drained { abandoned: 0 });
}

#[tokio::test]
async fn a_connection_with_a_request_in_hand_is_not_idle() {
    let max_connections = NonZeroUsize::MIN;
    let max_connection_idle = Duration::from_millis(50);
    let config = HttpServerConfig { max_connections, max_connection_idle, ..HttpServerConfig::default() };
    let server = Server::start(config).await;
    server.gate.send_replace(false);
    let first = tokio::spawn(Client::http2().post(server.url(), "first".to_owned()));
    server.wait_for_begun(1).await;
    let second = tokio::spawn(Client::http1().post(server.url(), "second".to_owned()));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.gate.send_replace(true);
    assert_eq!(first.await.unwrap().unwrap().text, "answer to first");
    assert_eq!(second.await.unwrap().unwrap().text, "answer to second");
    assert_eq!(server.stop().await, Drained { abandoned: 0 });
}

#[tokio::test]
async fn an_address_has_no_more_connections_than_it_may() {
    let max_connections_per_peer = NonZeroUsize::new(2);
    let server =
        Server::start(HttpServerConfig { max_connections_per_peer, ..HttpServerConfig::default() }).await;
    let idle = [idle_http2(&server).await, idle_http2(&server).await];
    let refused = Client::http1().post(server.url(), "third".to_owned());
    assert!(timeout(FAILSAFE, refused).await.expect("it is closed at once").is_err());
    drop(idle);
    assert_eq!(server.stop().await, Drained { abandoned: 0 });
}
