//! The edge's disk: one spool for each signal below one folder, with one quota for all of them.
//!
//! Each signal has a part of the quota that the others cannot take, so that a flood of logs does not keep traces out, and a
//! topic that is blocked does not hold up the others' segments.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use disk_spool::{Quota, Spool, SpoolOptions, WhenFull};
use telemetry_wire::Signal;

use crate::{
    metrics::{Metrics, SpoolObserver},
    publisher::Backlog,
};

/// Group commit: bytes that do not wait for the window.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// The spool as it was configured.
#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// The folder; there is no spool without one.
    pub directory: Option<PathBuf>,
    /// Bound of all files, in bytes.
    pub max_bytes: u64,
    /// Bound of one file, in bytes.
    pub segment_bytes: u64,
    /// How long a group waits for more.
    pub group_window: Duration,
    /// What happens at the quota.
    pub when_full: WhenFull,
    /// What is older is dropped.
    pub max_age: Option<Duration>,
    /// Bytes that may wait for the disk, of each signal.
    pub queue_bytes: usize,
    /// The part of the quota that is kept for each signal, in percent, in the order of [`Signal::ALL`].
    pub reserved_percent: [u32; 3],
}

/// The spools of all signals, opened.
#[derive(Debug)]
pub struct Backlogs([Option<Backlog>; 3]);

impl Backlogs {
    /// Opens the spools, or none when there is no folder for them; blocks.
    pub fn open(config: &SpoolConfig, max_frame_bytes: usize, metrics: &Metrics) -> anyhow::Result<Backlogs> {
        let Some(directory) = &config.directory else { return Ok(Backlogs::none()) };
        let quota = Quota::new(config.max_bytes);
        let mut backlogs = [None, None, None];
        for signal in Signal::ALL {
            let percent = u64::from(config.reserved_percent[signal as usize]);
            let lane = quota.lane(config.max_bytes / 100 * percent);
            let options = SpoolOptions {
                directory: directory.join(signal.as_str()),
                segment_bytes: config.segment_bytes,
                group_window: config.group_window,
                group_bytes: GROUP_BYTES,
                queue_bytes: config.queue_bytes,
                max_frame_bytes,
                when_full: config.when_full,
                max_age: config.max_age,
            };
            let observer = Arc::new(SpoolObserver::new(signal, metrics.clone()));
            let (spool, recovery) = Spool::open(options, lane, observer)
                .with_context(|| format!("open the spool of {}", signal.as_str()))?;
            metrics.watch_spool(signal, &spool, recovery.pending.items);
            let least_room = (config.when_full == WhenFull::Refuse).then_some(max_frame_bytes as u64);
            backlogs[signal as usize] = Some(Backlog::new(spool, &recovery, least_room));
        }
        Ok(Backlogs(backlogs))
    }

    /// No spool: what the broker does not take is refused.
    pub fn none() -> Backlogs {
        Backlogs([None, None, None])
    }

    pub(crate) fn into_backlogs(self) -> [Option<Backlog>; 3] {
        self.0
    }
}
