//! Java's class-data archive for the broker: made once by driving a broker, then every start takes a third.
//!
//! It is a convenience. When it cannot be made, the cache keeps the reason in its place and brokers start without it.

use std::path::{Path, PathBuf};

use super::{Archive, Package, Setup};
use crate::cache::Cache;
use crate::progress::Task;
use crate::server::Server;
use crate::{Error, Part, Result};

const FILE: &str = "kafka.jsa";

impl Package {
    /// The archive that fits this Kafka and this Java; None when none could be made.
    pub(crate) fn archive(&self, cache: &Cache, task: &Task) -> Result<Option<PathBuf>> {
        let folder = cache.entry(&self.archive_key(), task, |draft| {
            task.say("making the class-data archive");
            let outcome = record(self, draft);
            crate::cache::remove(&draft.join("run"))?;
            if let Err(error) = outcome {
                let reason = format!("{error}\n");
                std::fs::write(draft.join("failed.txt"), reason)
                    .map_err(Error::io("note why there is no class-data archive"))?;
            }
            Ok(())
        })?;
        Ok(Some(folder.join(FILE)).filter(|file| file.exists()))
    }
}

/// Runs a broker through what tests do (create, produce, consume in a group), so that those classes are in.
fn record(package: &Package, draft: &Path) -> Result<()> {
    let archive = draft.join(FILE);
    let run = draft.join("run");
    let (server, brokers) = Server::bring_up(Part::Kafka, || {
        let Setup { launch, question, brokers } = super::setup(package, Archive::Make(&archive), &run, &[])?;
        Ok((launch, question, brokers))
    })?;
    let tool = |args: &[&str]| super::tool(package, Archive::Use(None), &run.join("tools.log"), args);
    let driven = tool(&[
        "org.apache.kafka.tools.TopicCommand",
        "--bootstrap-server",
        &brokers,
        "--create",
        "--topic",
        "warm",
    ])
    .and_then(|()| {
        let bootstrap = format!("bootstrap.servers={brokers}");
        tool(&[
            "org.apache.kafka.tools.ProducerPerformance",
            "--topic",
            "warm",
            "--num-records",
            "1000",
            "--record-size",
            "100",
            "--throughput",
            "-1",
            "--producer-props",
            &bootstrap,
            "acks=all",
        ])
    })
    .and_then(|()| {
        tool(&[
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            "--bootstrap-server",
            &brokers,
            "--topic",
            "warm",
            "--group",
            "warm",
            "--from-beginning",
            "--max-messages",
            "1000",
        ])
    });
    // The archive is written when the broker stops; a broker that was not driven far still gives a useful one.
    server.stop()?;
    driven
}
