//! The Kubernetes API as a server of its own: etcd and kube-apiserver, for programs that read or watch it.
//!
//! There is no scheduler, no controller and no node, so nothing runs and nothing changes but by request.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;

use crate::go::Module;
use crate::process::{Mode, Process};
use crate::question::Question;
use crate::server::spawn_to_answer;
use crate::sweeper::SweptFolder;
use crate::{Cache, Error, Progress, Result, ports};

const MODULE: Module = Module {
    name: "kubernetes-api",
    version: "1.36.3",
    go_mod: include_str!("../kubernetes/go.mod"),
    go_sum: include_str!("../kubernetes/go.sum"),
    main_go: "",
    programs: &[
        ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
        ("go.etcd.io/etcd/server/v3", "etcd"),
    ],
    tags: "",
    takes: "about 5 minutes of two cores",
};

/// How long it may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// A Kubernetes API on loopback, with data of its own that go when it is dropped.
#[derive(Debug)]
pub struct KubernetesApi {
    api: Mutex<Option<Process>>,
    launch: Vec<OsString>,
    url: String,
    // After the process that stores in it.
    _etcd: Process,
    folder: SweptFolder,
}

impl KubernetesApi {
    /// Builds what is not in the cache. Blocks.
    ///
    /// # Errors
    /// Go is missing, or a module cannot be had.
    pub fn fetch(cache: &Cache, progress: &Progress) -> Result<()> {
        MODULE.fetch(cache, progress).map(drop)
    }

    /// Builds what is not in the cache, starts both, and returns when the API is ready. Blocks.
    ///
    /// # Errors
    /// Go is missing, a module cannot be had, or the end of the log of the one that did not come up.
    pub fn up(cache: &Cache, progress: &Progress) -> Result<Self> {
        let task = progress.task("kubernetes");
        let programs = MODULE.build(cache, &task)?;
        task.say("starting");
        let folder = SweptFolder::new()?;
        let (store, peer, port) = (ports::free(), ports::free(), ports::free());
        let etcd = etcd(&programs, folder.path(), store, peer)?;
        let launch = api_server(&programs, folder.path(), store, port)?;
        let url = format!("https://127.0.0.1:{port}");
        let api = Self { api: Mutex::new(None), launch, url, _etcd: etcd, folder };
        api.start()?;
        task.done(&format!("up at {}", api.url));
        Ok(api)
    }

    /// Starts the API again with the data and the port that it had. Nothing happens when it runs.
    pub fn start(&self) -> Result<()> {
        let mut api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        if api.is_some() {
            return Ok(());
        }
        let log = self.folder.path().join("kube-apiserver.log");
        let question = Question::KubernetesApi { url: self.url.clone() };
        let process = spawn_to_answer("kube-apiserver", &self.launch, &log, &question)?;
        *api = Some(process);
        Ok(())
    }

    /// Stops the API; what it stores stays.
    pub fn stop(&self) {
        let api = self.api.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(process) = api {
            process.end(STOP_PATIENCE);
        }
    }

    /// A kubeconfig for a user: `admin` may do everything, any other only what roles allow.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn kubeconfig(&self, user: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(format!("{user}.kubeconfig"));
        let certificate = self.folder.path().join("certificates/apiserver.crt");
        let text = include_str!("../kubernetes/kubeconfig.yaml")
            .replace("@URL@", &self.url)
            .replace("@CERTIFICATE@", &certificate.to_string_lossy())
            .replace("@USER@", user);
        std::fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
        Ok(path)
    }
}

fn etcd(programs: &Path, folder: &Path, port: u16, peer: u16) -> Result<Process> {
    let flag = |name: &str, value: String| OsString::from(format!("--{name}={value}"));
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
    let command = vec![
        programs.join("etcd").into(),
        flag("data-dir", folder.join("etcd").to_string_lossy().into_owned()),
        flag("listen-client-urls", client.clone()),
        flag("advertise-client-urls", client),
        flag("listen-peer-urls", peer.clone()),
        flag("initial-advertise-peer-urls", peer.clone()),
        flag("initial-cluster", format!("default={peer}")),
        flag("log-level", "warn".to_owned()),
        "--unsafe-no-fsync".into(),
    ];
    Process::spawn(Mode::Exec, &command, &folder.join("etcd.log"))
}

fn api_server(programs: &Path, folder: &Path, store: u16, port: u16) -> Result<Vec<OsString>> {
    let (key, tokens) = (folder.join("service-accounts.pem"), folder.join("tokens.csv"));
    let pem = service_account_key().map_err(|error| Error::Io {
        what: "make the key of service accounts".to_owned(),
        source: std::io::Error::other(error),
    })?;
    std::fs::write(&key, pem).map_err(Error::io("write the key of service accounts"))?;
    std::fs::write(&tokens, include_str!("../kubernetes/tokens.csv")).map_err(Error::io("write tokens"))?;
    let flag = |name: &str, value: &str| OsString::from(format!("--{name}={value}"));
    let path = |name: &str, path: &Path| flag(name, &path.to_string_lossy());
    Ok(vec![
        programs.join("kube-apiserver").into(),
        flag("etcd-servers", &format!("http://127.0.0.1:{store}")),
        flag("bind-address", "127.0.0.1"),
        flag("secure-port", &port.to_string()),
        path("cert-dir", &folder.join("certificates")),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        path("service-account-key-file", &key),
        path("service-account-signing-key-file", &key),
        path("token-auth-file", &tokens),
        flag("authorization-mode", "RBAC"),
        flag("service-cluster-ip-range", "10.96.0.0/16"),
        flag("endpoint-reconciler-type", "none"),
        // Nobody makes the account that it would want of every pod.
        flag("disable-admission-plugins", "ServiceAccount"),
    ])
}

fn service_account_key() -> std::result::Result<Vec<u8>, openssl::error::ErrorStack> {
    EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?.private_key_to_pem()
}
