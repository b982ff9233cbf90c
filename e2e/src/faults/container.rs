//! A container's log on the disk, written and rotated as a container runtime and a kubelet do.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use flate2::Compression;
use flate2::write::GzEncoder;
use telemetry_wire::Signal;

use super::item::LINE;
use super::ledger::Ledger;
use crate::runtime::{put_fragment, put_line};
use crate::sender::Answer;

/// One container's log. What is written counts as acked: whoever has written it, does not write it again.
#[derive(Debug)]
pub struct ContainerLog {
    path: PathBuf,
    ledger: Arc<Ledger>,
    sender: u32,
    file: File,
    /// Rotated files that are not compressed, oldest first.
    pub rotated: Vec<PathBuf>,
    rotations: u64,
}

/// Writes at a steady rate, and rotates, until it is stopped.
#[derive(Debug)]
pub struct Writing {
    written: Arc<AtomicU64>,
    is_stopped: Arc<AtomicBool>,
    thread: JoinHandle<Result<ContainerLog>>,
}

/// How a [`Writing`] goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Lines a second.
    pub lines: u64,
    /// Filling of each, in bytes.
    pub filling: u32,
    /// Time between two rotations; all but the newest rotated file are compressed.
    pub rotate: Option<Duration>,
}

impl ContainerLog {
    /// The log of a pod of its own below `pods`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn create(pods: &Path, ledger: &Arc<Ledger>, sender: u32) -> Result<Self> {
        let folder = pods.join(format!("production_menu-{sender}_0000-{sender}")).join("app");
        fs::create_dir_all(&folder).context("make the folder of a container's log")?;
        let path = folder.join("0.log");
        let file = open(&path)?;
        Ok(Self { path, ledger: Arc::clone(ledger), sender, file, rotated: Vec::new(), rotations: 0 })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line with so much filling, in fragments if it is long.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn line(&mut self, filling: u32) -> Result<()> {
        let (place, sent) = self.ledger.issue(Signal::Logs, self.sender, 1, LINE | filling);
        let mut bytes = Vec::new();
        put_line(&mut bytes, &sent.first.line());
        self.file.write_all(&bytes).context("write a line")?;
        self.ledger.answer(place, Answer::Acked);
        Ok(())
    }

    /// Writes a line whose second half follows after a rotation.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn line_across_rotation(&mut self, filling: u32) -> Result<()> {
        let (place, sent) = self.ledger.issue(Signal::Logs, self.sender, 1, LINE | filling);
        let line = sent.first.line();
        let (first, rest) = line.split_at(line.len() / 2);
        let mut bytes = Vec::new();
        put_fragment(&mut bytes, first, true);
        self.file.write_all(&bytes).context("write half a line")?;
        self.rotate()?;
        bytes.clear();
        put_fragment(&mut bytes, rest, false);
        self.file.write_all(&bytes).context("write the other half")?;
        self.ledger.answer(place, Answer::Acked);
        Ok(())
    }

    /// Renames it, and goes on in a new file, as a kubelet makes the runtime do.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn rotate(&mut self) -> Result<PathBuf> {
        self.rotations += 1;
        let to = self.path.with_file_name(format!("0.log.{:020}", self.rotations));
        fs::rename(&self.path, &to).context("rename the log")?;
        self.file = open(&self.path)?;
        self.rotated.push(to.clone());
        Ok(to)
    }

    /// Copies it, and truncates it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn copy_and_truncate(&mut self) -> Result<PathBuf> {
        self.rotations += 1;
        let to = self.path.with_file_name(format!("0.log.{:020}", self.rotations));
        fs::copy(&self.path, &to).context("copy the log")?;
        self.file.set_len(0).context("truncate the log")?;
        Ok(to)
    }

    /// Compresses all rotated files but the newest.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn compress(&mut self) -> Result<()> {
        while self.rotated.len() > 1 {
            compress(&self.rotated.remove(0))?;
        }
        Ok(())
    }

    /// Writes and rotates in a thread of its own.
    #[must_use]
    pub fn start(self, pace: Pace) -> Writing {
        let (written, is_stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&written), Arc::clone(&is_stopped));
        let thread = std::thread::spawn(move || self.write_until(pace, &count, &stop));
        Writing { written, is_stopped, thread }
    }

    #[allow(clippy::disallowed_methods, reason = "a thread of its own, which writes at a pace")]
    fn write_until(mut self, pace: Pace, written: &AtomicU64, stop: &AtomicBool) -> Result<Self> {
        let (started, mut rotated) = (Instant::now(), Instant::now());
        while !stop.load(Ordering::Relaxed) {
            let due = (started.elapsed().as_secs_f64() * pace.lines as f64) as u64;
            for _ in written.load(Ordering::Relaxed)..due {
                self.line(pace.filling)?;
                written.fetch_add(1, Ordering::Relaxed);
            }
            if pace.rotate.is_some_and(|interval| rotated.elapsed() >= interval) {
                rotated = Instant::now();
                if written.load(Ordering::Relaxed).is_multiple_of(3) {
                    self.line_across_rotation(pace.filling)?
                } else {
                    self.rotate().map(drop)?
                }
                self.compress()?;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(self)
    }
}

impl Writing {
    /// Lines written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Ends it; the log can be written on by hand.
    ///
    /// # Errors
    /// The disk has refused.
    pub fn stop(self) -> Result<ContainerLog> {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the writer failed"))?
    }
}

/// Replaces a file by its archive.
///
/// # Errors
/// The disk refuses.
pub fn compress(path: &Path) -> Result<()> {
    let temporary = PathBuf::from(format!("{}.tmp", path.display()));
    let mut encoder =
        GzEncoder::new(File::create(&temporary).context("make an archive")?, Compression::fast());
    std::io::copy(&mut File::open(path).context("open a rotated log")?, &mut encoder)
        .context("compress a log")?;
    encoder.finish().context("finish an archive")?;
    fs::rename(temporary, format!("{}.gz", path.display())).context("name an archive")?;
    fs::remove_file(path).context("remove a compressed log")
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}
