//! A wall clock that can be stepped under a running edge, and under nothing else.
//!
//! Faketime would be the tool for it, but does not know C11's waits, with which librdkafka sleeps: they would take a faked
//! deadline for a real one. So a small library of our own (`clock.c`) is put before the program's; it is compiled when it
//! is needed, by the compiler that the build needs anyway. The monotonic clock is left alone.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

const SOURCE: &str = include_str!("clock.c");

/// What the clock of one process shows.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    offset: PathBuf,
    file: File,
}

impl Clock {
    /// A right clock whose files lie in `folder`.
    ///
    /// # Errors
    /// The library cannot be compiled.
    pub fn new(folder: &Path) -> Result<Self> {
        let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
        std::fs::write(&source, SOURCE).context("write the clock's source")?;
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-pthread", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let output = compiler.output().context("run cc")?;
        if !output.status.success() {
            bail!("cc ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let offset = folder.join("clock.offset");
        let file = File::options().create(true).truncate(true).write(true).open(&offset);
        let clock = Self { library, offset, file: file.context("make the clock's offset")? };
        clock.step_to(0)?;
        Ok(clock)
    }

    /// What the program has to be given in its environment.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, String); 2] {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        [("LD_PRELOAD", text(&self.library)), ("CLOCK_OFFSET", text(&self.offset))]
    }

    /// So many seconds ahead of the right time, at once; behind it when negative.
    ///
    /// # Errors
    /// The offset cannot be written.
    pub fn step_to(&self, seconds: i64) -> Result<()> {
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).context("step the clock")
    }

    /// Some minutes after the epoch.
    ///
    /// # Errors
    /// Those of [`Clock::step_to`].
    pub fn step_to_1970(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is after 1970")?;
        let back = now.saturating_sub(Duration::from_secs(600)).as_secs();
        self.step_to(-i64::try_from(back).context("seconds fit for long")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_seen_by_a_running_program() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::new(folder.path()).unwrap();
        let year = |clock: &Clock| {
            let output = Command::new("date").arg("+%Y").envs(clock.variables()).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().unwrap()
        };
        assert!(year(&clock) > 2020);
        clock.step_to_1970().unwrap();
        assert_eq!(year(&clock), 1970);
    }
}
