//! The container runtime of the demo: what the Menu API prints becomes a pod's log, rotated as on a node.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;

/// The pod that the Menu API would run in.
const POD: &str = "production_mock-service-0_5f1c8a52-demo";

/// The name of its container.
pub(crate) const CONTAINER: &str = "mock-service";

/// Rotated after so many lines, so that a demo has some rotations.
const ROTATE_LINES: u64 = 300;

/// Follows a program's output into the log of a pod.
#[derive(Debug)]
pub(crate) struct Runtime {
    is_stopped: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

/// Below which the logs of pods are.
pub(crate) fn pods(directory: &Path) -> PathBuf {
    directory.join("pods")
}

impl Runtime {
    /// Follows `output`, which is being written, from this byte on into the pod's log below `directory`.
    pub(crate) fn start(directory: &Path, output: &Path, from: u64) -> Result<Self> {
        let folder = pods(directory).join(POD).join(CONTAINER);
        fs::create_dir_all(&folder).context("make the folder of the pod's log")?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (stop, output) = (Arc::clone(&is_stopped), output.to_owned());
        let thread = std::thread::spawn(move || follow(&folder, &output, from, &stop));
        Ok(Self { is_stopped, thread })
    }

    /// Writes down what is left; how many lines the log has had.
    pub(crate) fn stop(self) -> Result<u64> {
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
            let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
            let entry = [format!("{now:.9} stdout F ").as_bytes(), &line].concat();
            log.write_all(&entry).context("write the pod's log")?;
            line.clear();
            written += 1;
            if written.is_multiple_of(ROTATE_LINES) {
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

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).context("open the pod's log")
}
