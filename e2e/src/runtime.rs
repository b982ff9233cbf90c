//! A container runtime: what a program prints becomes a pod's log, rotated as on a node.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;

/// The name of the container that the Menu API runs in.
pub const CONTAINER: &str = "mock-service";

/// Rotated after so many lines, so that a demo has some rotations.
const ROTATE_LINES: u64 = 300;

/// A container runtime cuts lines after so many bytes.
const FRAGMENT_BYTES: usize = 16 * 1024;

/// Follows a program's output into the log of a pod.
#[derive(Debug)]
pub struct Runtime {
    is_stopped: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

/// Below which the logs of pods are.
#[must_use]
pub fn pods(directory: &Path) -> PathBuf {
    directory.join("pods")
}

impl Runtime {
    /// Follows `output`, which is being written, from this byte on into the log of the Menu API's pod below `directory`.
    ///
    /// # Errors
    /// The folder of the log cannot be made.
    pub fn start(directory: &Path, output: &Path, from: u64) -> Result<Self> {
        let folder = pod(directory, CONTAINER)?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (stop, output) = (Arc::clone(&is_stopped), output.to_owned());
        let thread = std::thread::spawn(move || follow(&folder, &output, from, &stop));
        Ok(Self { is_stopped, thread })
    }

    /// Writes down what is left; how many lines the log has had.
    ///
    /// # Errors
    /// The output or the log could not be read or written.
    pub fn stop(self) -> Result<u64> {
        self.is_stopped.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow!("the thread that writes the pod's log failed"))?
    }
}

#[allow(clippy::disallowed_methods, reason = "a thread of its own, which follows a file")]
fn follow(folder: &Path, output: &Path, from: u64, stop: &AtomicBool) -> Result<u64> {
    let mut output = File::open(output).context("open the output of the service")?;
    output.seek(SeekFrom::Start(from)).context("seek in the output of the service")?;
    let mut lines = BufReader::new(output);
    let (path, mut line, mut written) = (folder.join("0.log"), Vec::new(), 0u64);
    let mut log = open(&path)?;
    loop {
        // Whether it was told to stop is asked first: what came before that is read then.
        let is_last = stop.load(Ordering::Acquire);
        while lines.read_until(b'\n', &mut line).context("read the output of the service")? > 0 {
            if line.last() != Some(&b'\n') {
                break;
            }
            put(&mut log, &line[..line.len() - 1])?;
            line.clear();
            written += 1;
            if written.is_multiple_of(ROTATE_LINES) {
                let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
                fs::rename(&path, folder.join(format!("0.log.{now:.0}"))).context("rotate the pod's log")?;
                log = open(&path)?;
            }
        }
        if is_last {
            return Ok(written);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes the whole log of a pod of this container below `directory`, as if its program had printed these lines now.
///
/// # Errors
/// The disk refuses.
pub fn write_log(directory: &Path, container: &str, lines: &[String]) -> Result<()> {
    let mut log = open(&pod(directory, container)?.join("0.log"))?;
    lines.iter().try_for_each(|line| put(&mut log, line.as_bytes()))
}

/// The folder of a container's logs, which names its pod.
fn pod(directory: &Path, container: &str) -> Result<PathBuf> {
    let folder =
        pods(directory).join(format!("production_{container}-0_5f1c8a52-{container}")).join(container);
    fs::create_dir_all(&folder).context("make the folder of the pod's log")?;
    Ok(folder)
}

fn put(log: &mut File, line: &[u8]) -> Result<()> {
    let mut entry = Vec::with_capacity(line.len() + 64);
    put_line(&mut entry, line);
    log.write_all(&entry).context("write the pod's log")
}

/// Adds a line, given without its end, as a container runtime writes it now: in fragments if it is long.
pub(crate) fn put_line(bytes: &mut Vec<u8>, line: &[u8]) {
    let mut fragments = line.chunks(FRAGMENT_BYTES).peekable();
    while let Some(fragment) = fragments.next() {
        put_fragment(bytes, fragment, fragments.peek().is_some());
    }
}

/// Adds one fragment of a line; another follows when it `is_partial`.
pub(crate) fn put_fragment(bytes: &mut Vec<u8>, text: &[u8], is_partial: bool) {
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    bytes.extend_from_slice(format!("{now:.9} stdout {} ", if is_partial { "P" } else { "F" }).as_bytes());
    bytes.extend_from_slice(text);
    bytes.push(b'\n');
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).context("open the pod's log")
}
