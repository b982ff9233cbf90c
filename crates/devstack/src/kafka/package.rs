//! Kafka's jars from Maven, each pinned by checksum.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Archive;
use crate::cache::Cache;
use crate::progress::Task;
use crate::{Error, Result, checksum, command, tools};

/// The broker's version; `kafka/pom.xml` names it again.
const VERSION: &str = "4.3.1";
const POM: &str = include_str!("../../kafka/pom.xml");
const JARS: &str = include_str!("../../kafka/jars.sha256");
const COPY_JARS: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// The features of a fresh cluster, as Kafka's own formatter wrote them. Without them group, transaction and share
/// versions are 0.
const CHECKPOINT: &str = "bootstrap.checkpoint";

/// A fetched and verified Kafka.
#[derive(Debug)]
pub(crate) struct Package {
    folder: PathBuf,
    java: PathBuf,
}

impl Package {
    /// Fetches Kafka into the cache, unless it is there.
    pub(crate) fn fetch(cache: &Cache, task: &Task) -> Result<Self> {
        tools::ensure_java(cache, task)?;
        let java = command::find("java").ok_or_else(|| Error::Io {
            what: "find java".into(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        let folder = cache.entry(&key(), task, |draft| {
            tools::ensure(&[tools::MAVEN], cache, task)?;
            fetch_jars(draft, task)?;
            make_checkpoint(&Self { folder: draft.to_path_buf(), java: java.clone() }, task)
        })?;
        Ok(Self { folder, java })
    }

    /// Verifies the checksum of every jar again.
    pub(crate) fn verify(&self) -> Result<()> {
        checksum::verify_folder(&self.jars(), JARS)
    }

    /// The features that a new cluster starts with.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.folder.join(CHECKPOINT)
    }

    /// What decides whether a class-data archive fits: the jars and the Java that reads it.
    pub(crate) fn archive_key(&self) -> String {
        let java = std::fs::canonicalize(&self.java).unwrap_or_else(|_| self.java.clone());
        let release = java.ancestors().nth(2).map(|home| home.join("release"));
        let release = release.and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
        let parts =
            [self.class_path().into_encoded_bytes(), java.into_os_string().into_encoded_bytes(), release];
        format!("kafka-archive-{}", checksum::fingerprint(&[&parts[0], &parts[1], &parts[2]]))
    }

    /// The start of a command line: Java with a heap of `heap_mebibytes`, and the jars.
    pub(crate) fn java(&self, archive: Archive<'_>, heap_mebibytes: u32) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec![self.java.clone().into()];
        command.push(format!("-Xmx{heap_mebibytes}m").into());
        // The quick compiler only and a stop-the-world collector: less memory and half the start-up, and the broker
        // is still faster than what these tests ask of it.
        for flag in ["-Xms64m", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
        {
            command.push(flag.into());
        }
        for setting in
            ["defaultLogLevel=warn", "showDateTime=true", "dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX"]
        {
            command.push(format!("-Dorg.slf4j.simpleLogger.{setting}").into());
        }
        match archive {
            Archive::Use(None) => {}
            Archive::Use(Some(file)) => {
                command.push(joined("-XX:SharedArchiveFile=", file));
                // An archive that does not fit is passed over in silence; the start is slower then.
                command.extend([
                    "-Xshare:auto".into(),
                    "-Xlog:cds=off".into(),
                    "-Xlog:class+path=off".into(),
                ]);
            }
            Archive::Make(file) => command.push(joined("-XX:ArchiveClassesAtExit=", file)),
        }
        command.extend(["-cp".into(), self.class_path()]);
        command
    }

    fn jars(&self) -> PathBuf {
        self.folder.join("jars")
    }

    /// The pinned jars in the order of the list: an archive fits only the very same class path.
    fn class_path(&self) -> OsString {
        let jars = self.jars();
        let mut path = OsString::new();
        for (_, name) in checksum::entries(JARS) {
            if !path.is_empty() {
                path.push(":");
            }
            path.push(jars.join(name));
        }
        path
    }
}

fn key() -> String {
    format!("kafka-{VERSION}-{}", checksum::fingerprint(&[POM.as_bytes(), JARS.as_bytes()]))
}

fn fetch_jars(draft: &Path, task: &Task) -> Result<()> {
    let pom = draft.join("pom.xml");
    std::fs::write(&pom, POM).map_err(Error::io("write Kafka's pom.xml"))?;
    let jars = draft.join("jars");
    task.say(format!("fetching Kafka {VERSION} by mvn (47 jars, 44 MB)"));
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--no-transfer-progress", "--file"]).arg(&pom);
    maven.args([COPY_JARS, "-DincludeScope=runtime"]).arg(joined("-DoutputDirectory=", &jars));
    command::run("fetch Kafka by mvn", &mut maven, |_| {})?;
    task.say("verifying checksums");
    checksum::verify_folder(&jars, JARS)
}

fn make_checkpoint(package: &Package, task: &Task) -> Result<()> {
    task.say("formatting a first cluster");
    let draft = &package.folder;
    let (config, data) = (draft.join("format.properties"), draft.join("format"));
    let text = super::server_properties(&data, &super::Node::on(1, 2), &[]);
    std::fs::write(&config, text).map_err(Error::io("write the properties to format with"))?;
    let cluster = crate::random::kafka_id();
    let config_path = config.to_string_lossy();
    let log = draft.join("format.log");
    let args = ["kafka.tools.StorageTool", "format", "-t", &cluster, "-c", &config_path];
    super::tool(package, Archive::Use(None), &log, &args)?;
    std::fs::rename(data.join(CHECKPOINT), package.checkpoint())
        .map_err(Error::io("keep the formatted checkpoint"))?;
    crate::cache::remove(&data)
}

fn joined(prefix: &str, path: &Path) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path);
    text
}
