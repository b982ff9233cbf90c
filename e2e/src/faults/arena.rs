//! What the rows of a run share: brokers, the folder of logs, the seed, and how often faults are made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use devstack::{Cluster, ClusterOptions, Link};

/// Brokers are started at their first use and shared by all later rows; each row leaves them up and its doors open.
#[derive(Debug)]
pub struct Arena {
    /// Where each scene keeps its edge's configuration and log.
    pub folder: PathBuf,
    /// What random choices begin with; told in the report of a failure.
    pub seed: u64,
    solo: Option<Arc<Cluster>>,
    trio: Option<Arc<Cluster>>,
    scenes: u32,
}

impl Arena {
    /// An empty one.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(folder: &Path, seed: u64) -> Result<Self> {
        std::fs::create_dir_all(folder).context("make the folder of the scenes")?;
        Ok(Self { folder: folder.to_path_buf(), seed, solo: None, trio: None, scenes: 0 })
    }

    /// One broker behind two doors.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn solo(&mut self) -> Result<Arc<Cluster>> {
        if self.solo.is_none() {
            self.solo = Some(up(1).await?);
        }
        self.solo.clone().context("it was made above")
    }

    /// Three brokers behind two doors, with every partition on all of them.
    ///
    /// # Errors
    /// They cannot be had.
    pub async fn trio(&mut self) -> Result<Arc<Cluster>> {
        if self.trio.is_none() {
            self.trio = Some(up(3).await?);
        }
        self.trio.clone().context("it was made above")
    }

    /// A name for a scene's topics, edge and folder that no other scene has.
    pub fn name(&mut self, row: &str) -> String {
        self.scenes += 1;
        format!("{}_{}_{}", row.to_lowercase(), self.scenes, std::process::id())
    }

    /// Opens all doors and starts what a row may have left stopped or frozen.
    ///
    /// # Errors
    /// A broker does not come back.
    pub async fn mend(&mut self) -> Result<()> {
        for cluster in [&self.solo, &self.trio].into_iter().flatten() {
            let cluster = Arc::clone(cluster);
            let mended = tokio::task::spawn_blocking(move || {
                for door in [cluster.door(0), cluster.door(1)] {
                    door.set(Link::Open);
                }
                cluster.servers().iter().try_for_each(|server| server.thaw().and_then(|()| server.start()))
            });
            mended.await.context("mend the brokers")?.context("mend the brokers")?;
        }
        Ok(())
    }
}

async fn up(brokers: usize) -> Result<Arc<Cluster>> {
    let options = ClusterOptions { doors: 2, ..ClusterOptions::new(brokers) };
    let cluster = tokio::task::spawn_blocking(|| Cluster::up(options)).await;
    Ok(Arc::new(cluster.context("start the brokers")?.context("start the brokers")?))
}
