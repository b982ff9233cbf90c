//! Removes a stack's temporary folder, also when this process is killed before it can.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Error, Result, launcher};

/// A temporary folder with a process that waits for ours to end.
#[derive(Debug)]
pub(crate) struct SweptFolder {
    path: PathBuf,
    sweeper: Child,
}

impl SweptFolder {
    pub(crate) fn new() -> Result<Self> {
        let launcher = launcher::path()?;
        let folder = tempfile::Builder::new().prefix("eventline-").tempdir();
        let folder = folder.map_err(Error::io("create a temporary folder"))?;
        let mut command = Command::new(launcher);
        command.arg("sweep").arg(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C at the terminal must not reach it: it has its work before it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let sweeper = command.spawn().map_err(Error::io("start devstack-launch"))?;
        Ok(Self { path: folder.keep(), sweeper })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SweptFolder {
    fn drop(&mut self) {
        // Its standard input ends here, so it removes the folder, and then it ends. Should it have been killed, a
        // folder of a test is left behind in the system's folder for such things.
        drop(self.sweeper.stdin.take());
        let _ = self.sweeper.wait();
    }
}
