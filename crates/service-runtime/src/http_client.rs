//! The HTTP client of a sink: one base URL, its credentials, its TLS, its timeouts.
//!
//! Requests are never redirected (a sink that moved must be configured, and a redirected POST may lose its body), never retried
//! here (the caller knows what may be sent twice), and never go through a proxy found in the environment.

mod auth;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Certificate, Client, Identity, Method, RequestBuilder, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect,
};

pub use auth::HttpAuth;

use crate::{Section, tls::TlsConfig};

/// A server on the same network answers a SYN in milliseconds; this is for one that is being moved.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The slowest good answer: an insert of a full block into a busy server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Shorter than the keep-alive of the servers we speak to, so that a request is seldom sent into a connection being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// What was read and checked; [`HttpClientConfig::build`] makes the client.
#[derive(Debug, Clone)]
pub struct HttpClientConfig {
    url: Url,
    tls: TlsConfig,
    auth: HttpAuth,
    headers: HeaderMap,
    connect_timeout: Duration,
    request_timeout: Duration,
}

/// A client bound to one server. Clones share its connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client,
    base: Url,
    auth: HttpAuth,
}

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// A TLS file has become unreadable since the configuration was checked.
    #[error("cannot read the TLS file `{}`", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A TLS file does not hold what it should.
    #[error("the TLS file `{}` does not hold what it should", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The TLS library refused the settings.
    #[error("cannot set up the HTTP client")]
    Setup(#[source] reqwest::Error),
}

impl HttpClientConfig {
    /// Reads the keys of one server; `example` is its URL in the reference and in the remedy of a missing one.
    pub fn read(section: &mut Section<'_>, example: &'static str) -> Self {
        let url: Url =
            section.required("url", example, "Base URL of the server; `https` encrypts the connection.");
        Self::read_for(section, "url", url)
    }

    /// Reads the same of a server whose URL was found under `key`.
    pub(crate) fn read_for(section: &mut Section<'_>, key: &'static str, url: Url) -> Self {
        let auth = HttpAuth::read(section);
        let headers = read_headers(section);
        let connect_timeout =
            section.value("connect_timeout", CONNECT_TIMEOUT, "Time to establish a connection.");
        let request_timeout = section.value(
            "request_timeout",
            REQUEST_TIMEOUT,
            "Time from the start of a request to the end of its answer.",
        );
        let mut tls_section = section.section("tls", "Trust and identity of an `https` connection.");
        let mut tls = TlsConfig::read_files(&mut tls_section);
        tls.enabled = url.scheme() == "https";
        if tls.is_configured() && !tls.enabled {
            section.problem(
                key,
                "is not https, yet keys of TLS are set",
                "give an https URL, or remove them",
            );
        }
        Self { url, tls, auth, headers, connect_timeout, request_timeout }
    }

    /// A client without credentials for `url`, with the default timeouts: for tests and tools.
    pub fn plain(url: Url) -> Self {
        Self {
            url,
            tls: TlsConfig::default(),
            auth: HttpAuth::None,
            headers: HeaderMap::new(),
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
        }
    }

    /// The same at another base URL, whose scheme says whether the connection is encrypted.
    #[must_use]
    pub fn at(mut self, url: Url) -> Self {
        self.tls.enabled = url.scheme() == "https";
        Self { url, ..self }
    }

    /// The base URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The credentials.
    pub fn auth(&self) -> &HttpAuth {
        &self.auth
    }

    /// Sets the client up; nothing is connected yet.
    pub fn build(&self) -> Result<HttpClient, HttpClientError> {
        let mut builder = Client::builder()
            .user_agent(concat!("eventline/", env!("CARGO_PKG_VERSION")))
            .default_headers(self.headers.clone())
            .connect_timeout(self.connect_timeout)
            .timeout(self.request_timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true);
        if let Some(path) = &self.tls.ca_file {
            let pem = read_file(path)?;
            let authorities = Certificate::from_pem_bundle(&pem).map_err(|source| pem_error(path, source))?;
            builder = builder.tls_certs_only(authorities);
        }
        if let Some(identity) = &self.tls.identity {
            let (cert, key) = (read_file(&identity.cert_file)?, read_file(&identity.key_file)?);
            let identity = Identity::from_pkcs8_pem(&cert, &key)
                .map_err(|source| pem_error(&identity.cert_file, source))?;
            builder = builder.identity(identity);
        }
        if self.tls.insecure_skip_verify {
            builder = builder.tls_danger_accept_invalid_certs(true).tls_danger_accept_invalid_hostnames(true);
        }
        let client = builder.build().map_err(HttpClientError::Setup)?;
        Ok(HttpClient { client, base: self.url.clone(), auth: self.auth.clone() })
    }
}

impl HttpClient {
    /// The base URL.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The URL of `path` below the base URL, whose own path is kept: base `http://h/a` and `/b` make `http://h/a/b`. An empty
    /// path is the base URL itself.
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        if path.is_empty() {
            return url;
        }
        let joined = format!("{}/{}", self.base.path().trim_end_matches('/'), path.trim_start_matches('/'));
        url.set_path(&joined);
        url
    }

    /// A GET of `path` below the base URL, with the credentials.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// A POST to `path` below the base URL, with the credentials.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.auth.apply(self.client.request(method, self.url(path)))
    }
}

fn read_headers(section: &mut Section<'_>) -> HeaderMap {
    let texts: BTreeMap<String, String> = section.value(
        "headers",
        BTreeMap::new(),
        "Headers sent with every request, such as `X-Scope-OrgID`.",
    );
    let mut headers = HeaderMap::new();
    for (name, value) in &texts {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(reqwest::header::AUTHORIZATION), _) => {
                section.problem(
                    "headers",
                    "sets `Authorization`",
                    "use `username` and `password`, or `bearer_token`",
                );
            }
            (Ok(name), Ok(mut value)) => {
                // May be a key all the same: not to be printed.
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            _ => section.problem(
                "headers",
                format!("`{name}` is not a header, or its value is not"),
                "give names and values of visible ASCII",
            ),
        }
    }
    headers
}

fn read_file(path: &Path) -> Result<Vec<u8>, HttpClientError> {
    std::fs::read(path).map_err(|source| HttpClientError::ReadFile { path: path.to_owned(), source })
}

fn pem_error(path: &Path, source: reqwest::Error) -> HttpClientError {
    HttpClientError::Pem { path: path.to_owned(), source }
}
