//! Prometheus with its OTLP receiver: the second of the metrics endpoints that the hub writes to. And its promtool, which checks
//! and tests rules.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::go::Module;
use crate::process::Process;
use crate::question::Question;
use crate::server::spawn_to_answer;
use crate::sweeper::SweptFolder;
use crate::{Cache, Error, Progress, Result, ports};

const MODULE: Module = Module {
    name: "prometheus",
    version: "3.13.5",
    go_mod: include_str!("../prometheus/go.mod"),
    go_sum: include_str!("../prometheus/go.sum"),
    main_go: "",
    programs: &[
        ("github.com/prometheus/prometheus/cmd/prometheus", "prometheus"),
        ("github.com/prometheus/prometheus/cmd/promtool", "promtool"),
    ],
    // Targets are written in its configuration, never discovered.
    tags: "remove_all_sd",
    takes: "about 3 minutes of two cores",
};

/// The program that checks and tests rules, built into the cache with Prometheus unless it is there. Blocks.
///
/// # Errors
/// Go is missing, or a module cannot be had.
pub fn promtool(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    Ok(MODULE.fetch(cache, progress)?.join("promtool"))
}

/// What a Prometheus scrapes once a second, at `/metrics`.
#[derive(Debug, Clone)]
pub struct ScrapeTarget {
    /// Host and port.
    pub address: String,
    /// The label `job` of what is scraped.
    pub job: String,
    /// The label `instance`.
    pub instance: String,
}

/// A Prometheus on loopback, with data of its own that go when it is dropped. Samples may be late by an hour.
#[derive(Debug)]
pub struct Prometheus {
    url: String,
    // Before the folder that it writes to.
    _process: Process,
    _folder: SweptFolder,
}

impl Prometheus {
    /// Builds what is not in the cache. Blocks.
    ///
    /// # Errors
    /// Go is missing, or a module cannot be had.
    pub fn fetch(cache: &Cache, progress: &Progress) -> Result<()> {
        MODULE.fetch(cache, progress).map(drop)
    }

    /// Builds it unless it is in the cache, starts it, and returns when it serves. Blocks.
    ///
    /// # Errors
    /// Go is missing, a module cannot be had, or the end of its log when it did not come up.
    pub fn up(cache: &Cache, progress: &Progress) -> Result<Self> {
        Self::scraping(&[], cache, progress)
    }

    /// The same, and it scrapes.
    ///
    /// # Errors
    /// Those of [`Prometheus::up`].
    pub fn scraping(targets: &[ScrapeTarget], cache: &Cache, progress: &Progress) -> Result<Self> {
        let task = progress.task("prometheus");
        let program = MODULE.build(cache, &task)?.join("prometheus");
        task.say("starting");
        let folder = SweptFolder::new()?;
        let config = folder.path().join("prometheus.yaml");
        let text =
            include_str!("../prometheus/prometheus.yaml").replace("@TARGETS@", &static_configs(targets));
        std::fs::write(&config, text).map_err(Error::io(format!("write {}", config.display())))?;
        let address = format!("127.0.0.1:{}", ports::free());
        let flag = |name: &str, value: &str| OsString::from(format!("--{name}={value}"));
        let command = [
            program.into(),
            flag("config.file", &config.to_string_lossy()),
            flag("storage.tsdb.path", &folder.path().join("data").to_string_lossy()),
            flag("web.listen-address", &address),
            "--web.enable-otlp-receiver".into(),
        ];
        let url = format!("http://{address}");
        let (log, question) =
            (folder.path().join("prometheus.log"), Question::Prometheus { url: url.clone() });
        let process = spawn_to_answer("prometheus", &command, &log, &question)?;
        task.done(&format!("up at {url}"));
        Ok(Self { url, _process: process, _folder: folder })
    }

    /// Its base address.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// JSON, which is YAML.
fn static_configs(targets: &[ScrapeTarget]) -> String {
    let config = |target: &ScrapeTarget| {
        let ScrapeTarget { address, job, instance } = target;
        serde_json::json!({"targets": [address], "labels": {"job": job, "instance": instance}})
    };
    serde_json::Value::Array(targets.iter().map(config).collect()).to_string()
}
