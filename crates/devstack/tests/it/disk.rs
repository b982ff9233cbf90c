//! Disks of a test's own do what they say, and leave nothing behind.

use std::path::Path;
use std::process::Command;

use devstack::Disk;

/// Runs a shell script in the disk's directory, as a program under test is run.
fn on(disk: &Disk, script: &str) -> (bool, String) {
    let prefix = disk.prefix();
    let mut shell = Command::new(&prefix[0]);
    shell
        .args(&prefix[1..])
        .args(["sh", "-c", &format!("cd \"$1\" && {script}"), "sh"])
        .arg(disk.directory());
    let (ok, out, err) = crate::run(&mut shell);
    (ok, out + &err)
}

/// Root and its devices are not everywhere; a skipped test says so.
#[allow(clippy::print_stderr, reason = "whoever reads a test run must see what was not tried")]
fn possible() -> bool {
    let outcome = Disk::is_possible();
    if let Err(error) = &outcome {
        eprintln!("skipped, since disks of our own cannot be had here: {error}");
    }
    outcome.is_ok()
}

fn mounts_below(folder: &Path) -> usize {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    mounts.lines().filter(|line| line.contains(folder.to_str().unwrap())).count()
}

#[test]
fn a_small_disk_is_full_and_read_only_when_it_is_told_to() {
    if !possible() {
        return;
    }
    let disk = Disk::small(1 << 20).unwrap();
    let (ok, text) = on(&disk, "dd if=/dev/zero of=file bs=64k count=32");
    assert!(!ok && text.contains("No space left"), "{text}");
    assert_eq!(std::fs::metadata(disk.outside().join("file")).unwrap().len(), 1 << 20);
    disk.set_read_only(true).unwrap();
    let (ok, text) = on(&disk, "rm file");
    assert!(!ok && text.contains("Read-only file system"), "{text}");
    disk.set_read_only(false).unwrap();
    assert!(on(&disk, "rm file").0);

    assert_eq!(mounts_below(&disk.directory()), 0, "mounted for others too");
    let directory = disk.directory();
    drop(disk);
    assert!(!directory.exists());
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_only_that() {
    if !possible() {
        return;
    }
    let disk = Disk::ext4(32 << 20).unwrap();
    assert!(on(&disk, "echo kept > kept && sync kept . && echo lost > lost").0);
    let after = disk.after_power_cut().unwrap();
    assert_eq!(std::fs::read_to_string(after.outside().join("kept")).unwrap(), "kept\n");
    let lost = std::fs::read_to_string(after.outside().join("lost")).unwrap_or_default();
    assert_eq!(lost, "", "what was not synced is not there, or empty");
    // The disk itself goes on.
    assert_eq!(on(&disk, "cat lost"), (true, "lost\n".to_owned()));
}

#[test]
fn a_broken_disk_can_be_read_and_not_written() {
    if !possible() {
        return;
    }
    let disk = Disk::ext4(32 << 20).unwrap();
    assert!(on(&disk, "echo kept > kept && sync kept .").0);
    disk.break_down().unwrap();
    let (ok, text) = on(&disk, "echo more > more");
    assert!(!ok && text.contains("Read-only file system"), "{text}");
    assert_eq!(on(&disk, "cat kept"), (true, "kept\n".to_owned()));
}
