//! Disks of a test's own: full, read-only, or without power.
//!
//! ```text
//!   this process ── holds a pipe ──► holder, in a mount namespace of its own: DIRECTORY is the disk there
//!                                       ▲ nsenter
//!                                    program under test, sees DIRECTORY
//! ```
//!
//! - The mount exists only in the namespace, and the namespace only while the holder or a program in it lives; the holder
//!   ends when the pipe does. So nothing stays mounted, however this process ends, and the files go with their folder.
//! - A power cut is a copy of the image under a mounted file system: what had not reached the block device is not in it.
//!   What is mounted of the copy later is what a machine would find that was switched off at that moment. The copy takes
//!   some milliseconds, so "that moment" is the time from its beginning to its end; what was durable before is in it.
//! - It takes root. [`Disk::is_possible`] says whether it can be had at all.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::sweeper::SweptFolder;
use crate::{Error, Result, command};

/// A mounted disk, seen by the programs that are started in it. Unmounted and removed when it is dropped.
#[derive(Debug)]
pub struct Disk {
    folder: SweptFolder,
    holder: Holder,
    /// What is mounted, when it is an image.
    image: Option<PathBuf>,
}

/// The process that keeps the namespace.
#[derive(Debug)]
struct Holder(Child);

impl Disk {
    /// Whether namespaces, tmpfs and loop devices can be had here, and if not, why.
    ///
    /// # Errors
    /// What is missing.
    pub fn is_possible() -> Result<()> {
        Self::small(1 << 20).and_then(|_disk| Self::ext4(8 << 20)).map(|_disk| ())
    }

    /// A disk in memory of so many bytes.
    ///
    /// # Errors
    /// It cannot be mounted, mostly because this is not root.
    pub fn small(bytes: u64) -> Result<Self> {
        let folder = SweptFolder::new()?;
        let mount = format!("mount -t tmpfs -o size={bytes} tmpfs \"$1\"");
        let holder = hold(&folder, &mount, None)?;
        Ok(Self { folder, holder, image: None })
    }

    /// An ext4 disk of so many bytes whose power can be cut.
    ///
    /// # Errors
    /// It cannot be made or mounted.
    pub fn ext4(bytes: u64) -> Result<Self> {
        let folder = SweptFolder::new()?;
        let image = folder.path().join("image");
        let file = std::fs::File::create(&image).and_then(|file| file.set_len(bytes));
        file.map_err(Error::io("make a disk's image"))?;
        // Without a lazy initialisation in the background, which would write while the image is copied.
        let mut format = Command::new("mkfs.ext4");
        format.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(&image);
        command::run("format a disk", &mut format, |_| {})?;
        Self::of_image(folder, image)
    }

    /// What would be found after the power had been cut now. The disk itself goes on.
    ///
    /// # Errors
    /// The image cannot be copied, or its copy cannot be mounted: a file system that does not come back.
    pub fn after_power_cut(&self) -> Result<Self> {
        let what = "copy the image of a disk";
        let image = self.image.as_ref().ok_or_else(|| Error::Io {
            what: what.into(),
            source: std::io::Error::other("it is in memory"),
        })?;
        let folder = SweptFolder::new()?;
        let copy = folder.path().join("image");
        std::fs::copy(image, &copy).map_err(Error::io(what))?;
        Self::of_image(folder, copy)
    }

    fn of_image(folder: SweptFolder, image: PathBuf) -> Result<Self> {
        let holder = hold(&folder, "mount -o loop \"$2\" \"$1\"", Some(&image))?;
        Ok(Self { folder, holder, image: Some(image) })
    }

    /// Where the disk is, for the programs that are started in it.
    pub fn directory(&self) -> PathBuf {
        directory(&self.folder)
    }

    /// The same files for this process.
    pub fn outside(&self) -> PathBuf {
        let below = self.directory();
        let below = below.strip_prefix("/").unwrap_or(&below).to_path_buf();
        Path::new("/proc").join(self.holder.0.id().to_string()).join("root").join(below)
    }

    /// The words to put before a program's command line so that it sees the disk; its process id stays its own.
    pub fn prefix(&self) -> Vec<OsString> {
        vec!["nsenter".into(), format!("--mount=/proc/{}/ns/mnt", self.holder.0.id()).into()]
    }

    /// Makes the disk read-only, or writable again, also for who has files open on it.
    ///
    /// # Errors
    /// The kernel refuses: somebody has a file open for writing (only ext4 minds) or this is not root.
    pub fn set_read_only(&self, is_read_only: bool) -> Result<()> {
        let options = if is_read_only { "remount,ro" } else { "remount,rw" };
        self.run("remount a disk", &["mount", "-o", options], &self.directory())
    }

    /// Makes an ext4 disk fail every write from now on, also for who has files open on it, as the kernel does when the
    /// device reports errors. What is on it can still be read; only a new mount mends it.
    ///
    /// # Errors
    /// It is no ext4 disk.
    pub fn break_down(&self) -> Result<()> {
        self.run("break a disk", &["mount", "-o", "remount,abort"], &self.directory())
    }

    fn run(&self, what: &str, args: &[&str], last: &Path) -> Result<()> {
        let prefix = self.prefix();
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).args(args).arg(last);
        command::run(what, &mut command, |_| {})
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn directory(folder: &SweptFolder) -> PathBuf {
    folder.path().join("disk")
}

/// Starts the holder and waits until it has mounted; `mount` is a shell command whose `$1` is the directory and `$2` the
/// image.
fn hold(folder: &SweptFolder, mount: &str, image: Option<&Path>) -> Result<Holder> {
    let what = "mount a disk in a namespace of its own";
    let directory = directory(folder);
    std::fs::create_dir_all(&directory).map_err(Error::io(what))?;
    let mut command = Command::new("unshare");
    // `cat` ends with our end of the pipe.
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(format!("{mount} && echo mounted && exec cat")).arg("sh").arg(&directory);
    command.args(image).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C at the terminal must not unmount what programs still use.
    command.process_group(0);
    let mut holder = Holder(command.spawn().map_err(Error::io(what))?);
    let mut answer = String::new();
    let output = holder.0.stdout.take().map(BufReader::new);
    if let Some(mut output) = output {
        output.read_line(&mut answer).map_err(Error::io(what))?;
    }
    if answer.trim() == "mounted" {
        return Ok(holder);
    }
    let mut tail = String::new();
    if let Some(mut errors) = holder.0.stderr.take() {
        // Whatever it said before it ended.
        let _ = std::io::Read::read_to_string(&mut errors, &mut tail);
    }
    Err(Error::Command { what: what.into(), status: "no disk".into(), tail: tail.trim().to_owned() })
}
