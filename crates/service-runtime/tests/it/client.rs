//! The HTTP client: what it sends, whom it trusts, what it refuses to be configured with, and what it never prints.

use std::time::Duration;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, Uri},
    response::Redirect,
    routing::{any, get},
};
use service_runtime::{
    CancellationToken, Section, Settings,
    error_chain::ErrorChain,
    http_client::{HttpClient, HttpClientConfig},
    http_server,
};
use tokio::net::TcpListener;

use crate::tls_server::{Authority, yaml};

fn read(root: &mut Section<'_>) -> HttpClientConfig {
    HttpClientConfig::read(&mut root.section("sink", "A server."), "http://127.0.0.1:8123")
}

fn config(yaml: &str, env: &[(&str, &str)]) -> (HttpClientConfig, Vec<String>) {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut settings = Settings::from_yaml("HUB", yaml, env);
    let config = read(&mut settings.root());
    let problems = settings.finish().err().map(|problems| problems.iter().map(ToString::to_string).collect());
    (config, problems.unwrap_or_default())
}

fn client(yaml: &str, env: &[(&str, &str)]) -> HttpClient {
    let (config, problems) = config(yaml, env);
    assert_eq!(problems, [] as [&str; 0]);
    config.build().unwrap()
}

fn check_problems(yaml: &str, env: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(config(yaml, env).1, expected, "{yaml}");
}

/// A server that tells what it was asked.
async fn echo() -> String {
    async fn tell(uri: Uri, headers: HeaderMap) -> String {
        let header = |name: &str| headers.get(name).map_or("none", |value| value.to_str().unwrap());
        format!(
            "{} auth={} tenant={} agent={}",
            uri.path(),
            header("authorization"),
            header("x-scope-orgid"),
            header("user-agent")
        )
    }
    let router = Router::new()
        .route("/moved", get(async || Redirect::temporary("/elsewhere")))
        .route("/never", get(std::future::pending::<()>))
        .fallback(any(tell));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        http_server::serve(listener, router, &Default::default(), CancellationToken::new()).await;
    });
    url
}

async fn text(client: &HttpClient, path: &str) -> String {
    client.get(path).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn credentials_and_headers_go_with_every_request() {
    let url = echo().await;
    let agent = concat!("eventline/", env!("CARGO_PKG_VERSION"));
    let none = client(&format!("sink: {{url: {url}}}"), &[]);
    assert_eq!(text(&none, "/x").await, format!("/x auth=none tenant=none agent={agent}"));
    let yaml = format!("sink: {{url: {url}/base/, username: ann, headers: {{X-Scope-OrgID: demo}}}}");
    let basic = client(&yaml, &[("HUB__SINK__PASSWORD", "hunter2")]);
    let expected = format!("/base/x auth=Basic YW5uOmh1bnRlcjI= tenant=demo agent={agent}");
    assert_eq!(text(&basic, "x").await, expected);
    let posted = basic.post("/x").body("block").send().await.unwrap().text().await.unwrap();
    assert_eq!(posted, expected);
    let bearer = client(&format!("sink: {{url: {url}}}"), &[("HUB__SINK__BEARER_TOKEN", "t0ken")]);
    assert_eq!(text(&bearer, "/").await, format!("/ auth=Bearer t0ken tenant=none agent={agent}"));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_silent_server_is_given_up() {
    let url = echo().await;
    let client = client(&format!("sink: {{url: {url}, request_timeout: 100ms}}"), &[]);
    assert_eq!(client.get("/moved").send().await.unwrap().status(), StatusCode::TEMPORARY_REDIRECT);
    let error = client.get("/never").send().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
}

#[tokio::test]
async fn no_secret_is_printed_by_configuration_client_request_or_error() {
    let env = [("HUB__SINK__PASSWORD", "hunter2")];
    // Port 1 on loopback: nothing listens there.
    let yaml = "sink: {url: 'http://127.0.0.1:1', username: ann, headers: {X-Api-Key: hunter2}}";
    let (config, _) = config(yaml, &env);
    let client = config.build().unwrap();
    let request = client.get("/x").build().unwrap();
    let error = client.get("/x").send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    for printed in [
        format!("{config:?}"),
        format!("{client:?}"),
        format!("{request:?}"),
        format!("{error:?} {}", ErrorChain(&error)),
    ] {
        assert!(!printed.contains("hunter2") && !printed.contains("YW5uOmh1bnRlcjI"), "{printed}");
    }
}

#[tokio::test]
async fn only_the_configured_authority_is_trusted() {
    let authority = Authority::new();
    let url = authority.serve();
    let ca = authority.ca_file();
    let trusting = client(&format!("sink: {{url: '{url}', tls: {{ca_file: {}}}}}", yaml(&ca)), &[]);
    assert_eq!(text(&trusting, "/").await, "nobody");

    let other = Authority::new();
    for tls in ["{}".to_owned(), format!("{{ca_file: {}}}", yaml(&other.ca_file()))] {
        let client = client(&format!("sink: {{url: '{url}', tls: {tls}}}"), &[]);
        let error = client.get("/").send().await.unwrap_err();
        let chain = ErrorChain(&error).to_string();
        assert!(error.is_connect() && chain.contains("certificate verify failed"), "{chain}");
    }
    let careless = client(&format!("sink: {{url: '{url}', tls: {{insecure_skip_verify: true}}}}"), &[]);
    assert_eq!(text(&careless, "/").await, "nobody");
}

#[tokio::test]
async fn the_client_shows_its_certificate() {
    let authority = Authority::new();
    let url = authority.serve();
    let (ca, (cert, key)) = (authority.ca_file(), authority.client_files("hub-consumer"));
    let tls = format!("{{ca_file: {}, cert_file: {}, key_file: {}}}", yaml(&ca), yaml(&cert), yaml(&key));
    let client = client(&format!("sink: {{url: '{url}', tls: {tls}}}"), &[]);
    assert_eq!(text(&client, "/").await, "hub-consumer");
}

#[test]
fn a_tls_file_that_holds_something_else_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        .unwrap();
    let (config, problems) =
        config(&format!("sink: {{url: 'https://h', tls: {{ca_file: {}}}}}", yaml(file.path())), &[]);
    assert_eq!(problems, [] as [&str; 0]);
    let error = config.build().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the TLS file `{}` does not hold what it should", file.path().display())
    );
}

#[test]
fn each_wrong_key_is_a_problem_with_its_remedy() {
    let missing = "set it, for instance to `http://127.0.0.1:8123`, or set HUB__SINK__URL";
    check_problems("", &[], &[&format!("sink.url: is required and missing; {missing}")]);
    let url = "give an http or https URL such as `http://127.0.0.1:8123`";
    check_problems("sink: {url: 'ftp://h'}", &[], &[&format!("sink.url: has the scheme `ftp`; {url}")]);
    check_problems("sink: {url: 'h:80:80'}", &[], &[&format!("sink.url: has the scheme `h`; {url}")]);
    let leak = "holds credentials, which URLs leak into logs; use the keys for credentials";
    check_problems("sink: {url: 'http://ann:hunter2@h'}", &[], &[&format!("sink.url: {leak}; {url}")]);
    let password = ("HUB__SINK__PASSWORD", "x");
    let token = ("HUB__SINK__BEARER_TOKEN", "x");
    check_problems(
        "sink: {url: 'http://h'}",
        &[password],
        &["sink.username: is missing beside `password`; give both, or none"],
    );
    check_problems(
        "sink: {url: 'http://h', username: ann}",
        &[password, token],
        &["sink.bearer_token: is set beside `username`; give one kind of credentials"],
    );
    check_problems(
        "sink: {url: 'http://h', headers: {Authorization: x, 'a b': c}}",
        &[],
        &[
            "sink.headers: sets `Authorization`; use `username` and `password`, or `bearer_token`",
            "sink.headers: `a b` is not a header, or its value is not; give names and values of visible ASCII",
        ],
    );
    check_problems(
        "sink: {url: 'http://h', tls: {ca_file: /no/such, insecure_skip_verify: true}}",
        &[],
        &[
            "sink.tls.ca_file: cannot read `/no/such`: No such file or directory (os error 2); give the path of a readable file",
            "sink.url: is not https, yet keys of TLS are set; give an https URL, or remove them",
        ],
    );
    check_problems(
        "sink: {url: 'https://h', tls: {cert_file: /dev/null}}",
        &[],
        &["sink.tls.key_file: is missing beside `cert_file`; give both, or none"],
    );
}

#[test]
fn timeouts_are_read_as_durations() {
    let (config, problems) = config("sink: {url: 'http://h', connect_timeout: 1s, request_timeout: 2m}", &[]);
    assert_eq!(problems, [] as [&str; 0]);
    let printed = format!("{config:?}");
    for (field, value) in
        [("connect_timeout", Duration::from_secs(1)), ("request_timeout", Duration::from_secs(120))]
    {
        assert!(printed.contains(&format!("{field}: {value:?}")), "{printed}");
    }
}
