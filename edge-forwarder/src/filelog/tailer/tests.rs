//! Whole tailers on real files: what is written comes out, once, through rotations and crashes.

use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use proptest::prelude::*;

use super::*;
use crate::filelog::work::Limits;
use scene::{Scene, line};

mod scene;

#[test]
fn lines_come_out_once_and_a_clean_stop_needs_nobody_to_be_asked() {
    let mut scene = Scene::new();
    (0..100).for_each(|_| scene.write_line(&line()));
    scene.settle();
    scene.stop();
    (0..100).for_each(|_| scene.write_line(&line()));
    scene.durable.clear();
    scene.start();
    scene.settle();
}

#[test]
fn a_renamed_file_is_read_to_its_end() {
    let mut scene = Scene::new();
    scene.write_line(&line());
    scene.settle();
    scene.write_line(&line());
    let old = scene.rotate();
    scene.write_line(&line());
    scene.settle();
    // The writer held on to it.
    OpenOptions::new().append(true).open(old).unwrap().write_all(b"late\n").unwrap();
    scene.written.push(b"late".to_vec());
    scene.settle();
}

#[test]
fn files_rotated_while_nobody_looked_are_read_compressed_or_not() {
    let mut scene = Scene::new();
    scene.write_line(&line());
    scene.settle();
    scene.stop();
    for _ in 0..3 {
        scene.write_line(&line());
        let old = scene.rotate();
        if scene.rotations < 3 {
            scene.compress(&old);
        }
    }
    scene.write_line(&line());
    scene.start();
    scene.settle();
}

#[test]
fn bytes_that_were_deleted_unread_are_counted() {
    let mut scene = Scene::new();
    scene.write_line(b"0123456789");
    scene.settle();
    // Read, and never durable.
    scene.write_line(b"lost");
    (0..100).for_each(|_| scene.turn());
    scene.running.as_mut().unwrap().tailer.save_checkpoint(false);
    scene.running = None;
    let old = scene.rotate();
    fs::remove_file(old).unwrap();
    scene.written.pop();
    scene.write_line(&line());
    scene.start();
    scene.settle();
    assert_eq!(scene.metrics.lost(), 5);
}

#[test]
fn a_copied_and_truncated_file_goes_on_in_its_copy() {
    let mut scene = Scene::new();
    (0..3).for_each(|_| scene.write_line(&line()));
    scene.settle();
    (0..3).for_each(|_| scene.write_line(&line()));
    fs::copy(scene.log(), scene.root.path().join("app/0.log.1")).unwrap();
    fs::File::options().write(true).open(scene.log()).unwrap().set_len(0).unwrap();
    (0..9).for_each(|_| scene.write_line(&line()));
    scene.settle();
    assert_eq!(scene.metrics.lost(), 0);
}

#[test]
fn a_truncated_file_without_a_copy_begins_anew_and_its_unread_bytes_are_counted() {
    let mut scene = Scene::new();
    scene.limits = Limits::new(1, 4096, 256 * 1024);
    scene.crash();
    scene.write_line(&line());
    scene.settle();
    for line in [b"aaa", b"bbb", b"ccc", b"ddd"] {
        scene.write_line(line);
    }
    // One batch is out and one is full: the others are not read.
    (0..100).for_each(|_| scene.turn());
    fs::File::options().write(true).open(scene.log()).unwrap().set_len(0).unwrap();
    let unread = scene.metrics.lost();
    assert_eq!(unread, 0);
    scene.written.truncate(scene.written.len() - 2);
    scene.write_line(&line());
    scene.settle();
    assert_eq!(scene.metrics.lost(), 8);
}

#[test]
fn an_inode_that_comes_back_with_another_file_is_another_file() {
    let mut scene = Scene::new();
    scene.write_line(b"one of seventeen");
    scene.settle();
    scene.stop();
    // The same inode, the same length.
    fs::write(scene.log(), b"").unwrap();
    scene.write_line(b"two of seventeen");
    scene.start();
    scene.settle();
}

#[test]
fn a_line_cut_by_a_rotation_is_one_record() {
    let mut scene = Scene::new();
    let time = "2026-11-26T00:00:00.000000001Z";
    scene.write(format!("{time} stdout P one \n{time} stderr F other\n").as_bytes());
    scene.written.push(b"other".to_vec());
    scene.settle();
    scene.rotate();
    scene.write(format!("{time} stdout P record \n").as_bytes());
    (0..50).for_each(|_| scene.turn());
    scene.store(true);
    scene.crash();
    scene.rotate();
    scene.write(format!("{time} stdout F here\n").as_bytes());
    scene.written.push(b"one record here".to_vec());
    scene.settle();
}

#[test]
fn bytes_that_are_no_text_and_lines_without_an_end_come_as_they_are() {
    let mut scene = Scene::new();
    scene.write_line(b"\xff\xfe\x00 not text");
    scene.write_line(b"");
    scene.write(b"no end");
    (0..50).for_each(|_| scene.turn());
    scene.settle();
    scene.rotate();
    scene.write_line(&line());
    scene.written.push(b"no end".to_vec());
    scene.settle();
}

#[test]
fn a_last_line_without_an_end_comes_in_parts_also_across_a_crash() {
    let mut scene = Scene::new();
    scene.rest_of_line = Duration::from_millis(1);
    scene.crash();
    scene.write(b"whole\nhalf");
    scene.store_until(2);
    scene.crash();
    scene.write(b" rest\nnext\n");
    scene.store_until(4);
    let expected: [&[u8]; 4] = [b"whole", b"half", b" rest", b"next"];
    assert_eq!(scene.stored, expected);
}

#[test]
fn the_beginning_of_a_container_runtimes_line_waits_for_its_end() {
    let mut scene = Scene::new();
    scene.rest_of_line = Duration::from_millis(1);
    scene.crash();
    scene.write(b"2026-01-02T03:04:05.6Z stdout F whole\n2026-01-02T03:04:05.7Z std");
    scene.store_until(1);
    (0..20).for_each(|_| scene.turn());
    scene.write(b"out F rest\n");
    scene.store_until(2);
    let expected: [&[u8]; 2] = [b"whole", b"rest"];
    assert_eq!(scene.stored, expected);
}

#[test]
fn a_log_that_is_left_out_later_is_dropped_and_goes_on_where_it_is_selected_again() {
    let mut scene = Scene::new();
    scene.write(b"before\n");
    scene.store_until(1);
    scene.stop();
    scene.exclude = vec!["*/*.log".to_owned()];
    scene.start();
    scene.write(b"meanwhile\n");
    (0..20).for_each(|_| scene.turn());
    scene.stop();
    scene.exclude.clear();
    scene.start();
    scene.write(b"after\n");
    scene.store_until(2);
    let expected: [&[u8]; 2] = [b"before", b"after"];
    assert_eq!(scene.stored, expected);
}

#[test]
fn a_directory_that_comes_later_is_noticed_long_before_the_next_scan() {
    let mut scene = Scene::new();
    scene.write(b"first\n");
    scene.store_until(1);
    scene.stop();
    fs::remove_dir_all(scene.root.path().join("app")).unwrap();
    scene.scan_interval = Duration::from_secs(60);
    scene.include = "later/*/*/*.log".to_owned();
    scene.start();
    // The next one waits for something to happen.
    scene.turn();
    let log = scene.root.path().join("later/pod/app/0.log");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    fs::write(log, "second\n").unwrap();
    scene.store_until(2);
    assert_eq!(scene.stored[1], b"second");
}

#[test]
fn a_log_that_was_never_selected_is_not_opened() {
    let mut scene = Scene::new();
    scene.stop();
    scene.exclude = vec!["*/*.log".to_owned()];
    scene.start();
    scene.write(b"first\n");
    (0..20).for_each(|_| scene.turn());
    assert!(scene.running.as_ref().unwrap().tailer.logs.is_empty());
    scene.stop();
    scene.exclude.clear();
    scene.start();
    scene.store_until(1);
    assert_eq!(scene.stored, [b"first"]);
}

#[test]
fn a_line_longer_than_a_record_may_be_comes_in_parts() {
    let mut scene = Scene::new();
    let long = vec![b'x'; 10 * 1024 * 1024];
    scene.write(&[&long[..], b"\n"].concat());
    scene.write(b"short\n");
    let started = Instant::now();
    let mut bytes = 0;
    while bytes < long.len() + 5 && started.elapsed() < Duration::from_secs(30) {
        scene.turn();
        scene.store(true);
        bytes = scene.stored.iter().map(Vec::len).sum();
    }
    assert_eq!(bytes, long.len() + 5);
    assert_eq!(scene.stored.last().unwrap(), b"short");
    assert!(scene.stored.iter().all(|record| record.len() <= scene.limits.line_bytes));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Write(u8),
    /// A fragment; the line ends with the next write.
    Begin,
    Rotate,
    /// The oldest file that is not yet compressed.
    Compress,
    Turn(u8),
    Store {
        is_told: bool,
    },
    Checkpoint,
    Crash,
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..6u8).prop_map(Step::Write),
        1 => Just(Step::Begin),
        2 => Just(Step::Rotate),
        1 => Just(Step::Compress),
        4 => (1..4u8).prop_map(Step::Turn),
        3 => any::<bool>().prop_map(|is_told| Step::Store { is_told }),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Crash),
        1 => Just(Step::Stop),
    ];
    proptest::collection::vec(step, 1..60)
}

fn run(steps: &[Step]) {
    let mut scene = Scene::new();
    // From here on it has been there.
    scene.turn();
    let mut unpacked: VecDeque<PathBuf> = VecDeque::new();
    let mut begun: Option<Vec<u8>> = None;
    let time = "2026-11-26T00:00:00.000000001Z";
    for step in steps {
        match step {
            Step::Write(lines) => {
                for _ in 0..*lines {
                    let text = line();
                    scene.write(format!("{time} stdout F {}\n", String::from_utf8_lossy(&text)).as_bytes());
                    let whole = [begun.take().unwrap_or_default(), text].concat();
                    scene.written.push(whole);
                    let other = line();
                    scene.write(format!("{time} stderr F {}\n", String::from_utf8_lossy(&other)).as_bytes());
                    scene.written.push(other);
                }
            }
            Step::Begin => {
                let text = line();
                scene.write(format!("{time} stdout P {}\n", String::from_utf8_lossy(&text)).as_bytes());
                begun.get_or_insert_default().extend(text);
            }
            Step::Rotate if scene.log().exists() => unpacked.push_back(scene.rotate()),
            Step::Rotate => {}
            Step::Compress => {
                if let Some(path) = unpacked.pop_front() {
                    scene.compress(&path);
                }
            }
            Step::Turn(turns) => (0..*turns).for_each(|_| scene.turn()),
            Step::Store { is_told } => scene.store(*is_told),
            Step::Checkpoint => {
                let tailer = &mut scene.running.as_mut().unwrap().tailer;
                if tailer.has_begun {
                    tailer.save_checkpoint(false);
                }
            }
            Step::Crash => scene.crash(),
            Step::Stop => {
                (0..3).for_each(|_| scene.turn());
                scene.stop();
                scene.start();
            }
        }
    }
    scene.write(format!("{time} stdout F end\n").as_bytes());
    scene.written.push([begun.unwrap_or_default(), b"end".to_vec()].concat());
    scene.crash();
    scene.settle();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order, every line comes out once.
    #[test]
    fn every_line_once(steps in steps()) {
        run(&steps);
    }
}

#[test]
fn a_compressed_file_leaves_its_inode_to_the_next() {
    use Step::{Begin, Compress, Crash, Rotate, Stop, Store, Turn, Write};
    run(&[Begin, Rotate, Begin, Rotate, Write(1), Crash, Turn(2), Crash, Rotate, Compress, Write(1)]);
    let told = Store { is_told: true };
    run(&[
        Write(1),
        Rotate,
        Write(1),
        Crash,
        Rotate,
        Write(1),
        Turn(3),
        Write(1),
        Rotate,
        told,
        Turn(2),
        Compress,
        Compress,
        Stop,
    ]);
}

#[test]
fn nothing_is_handed_over_before_a_checkpoint_says_that_reading_has_begun() {
    let mut scene = Scene::new();
    // A directory in the place of the file that is to be renamed.
    let positions = scene.root.path().join("positions/positions");
    fs::create_dir_all(positions.join("in the way")).unwrap();
    fs::create_dir_all(scene.root.path().join("positions/positions.old/in the way")).unwrap();
    scene.write_line(&line());
    (0..50).for_each(|_| scene.turn());
    scene.store(true);
    assert!(scene.stored.is_empty());
    fs::remove_dir_all(scene.root.path().join("positions/positions.old")).unwrap();
    fs::remove_dir_all(positions).unwrap();
    scene.settle();
}

#[test]
fn a_file_that_is_seen_after_a_younger_one_is_read_before_it() {
    let mut scene = Scene::new();
    scene.turn();
    scene.running = None;
    scene.start();
    // The topic is still being asked, and files are only opened.
    let line = scene.running.as_ref().unwrap().tailer.line();
    let held_back = line.take();
    let time = "2026-11-26T00:00:00.000000001Z";
    scene.write(format!("{time} stdout P half \n").as_bytes());
    let oldest = scene.rotate();
    let hidden = scene.root.path().join("hidden");
    fs::rename(&oldest, &hidden).unwrap();
    scene.write(format!("{time} stdout F of it\n").as_bytes());
    (0..5).for_each(|_| scene.turn());
    scene.rotate();
    scene.write(format!("{time} stdout F another\n").as_bytes());
    (0..5).for_each(|_| scene.turn());
    fs::rename(&hidden, &oldest).unwrap();
    (0..5).for_each(|_| scene.turn());
    held_back.into_iter().for_each(|message| line.tell(message));
    scene.written.extend([b"half of it".to_vec(), b"another".to_vec()]);
    scene.settle();
}

#[test]
fn a_log_and_a_link_to_it_are_one_log() {
    let mut scene = Scene::new();
    std::os::unix::fs::symlink(scene.log(), scene.root.path().join("app/link.log")).unwrap();
    fs::create_dir(scene.root.path().join("other")).unwrap();
    std::os::unix::fs::symlink(scene.log(), scene.root.path().join("other/1.log")).unwrap();
    scene.write_line(&line());
    scene.settle();
    scene.write_line(&line());
    scene.settle();
}

#[test]
fn a_file_that_was_found_empty_is_the_one_that_was_compressed_unread() {
    let mut scene = Scene::new();
    scene.turn();
    scene.running = None;
    scene.write(b"");
    scene.start();
    // The topic is still being asked, and files are only opened.
    let running = scene.running.as_mut().unwrap();
    let line = running.tailer.line();
    let held_back = line.take();
    (0..5).for_each(|_| scene.turn());
    scene.write_line(&line_of(7));
    let old = scene.rotate();
    scene.write_line(&line_of(8));
    (0..5).for_each(|_| scene.turn());
    scene.compress(&old);
    (0..5).for_each(|_| scene.turn());
    held_back.into_iter().for_each(|message| line.tell(message));
    scene.settle();
}

fn line_of(number: u64) -> Vec<u8> {
    format!("a line of its own, {number}").into_bytes()
}

#[test]
fn a_log_that_is_only_there_under_another_name_is_known_again_when_it_comes_back() {
    let mut scene = Scene::new();
    scene.turn();
    scene.write_line(&line());
    (0..50).for_each(|_| scene.turn());
    scene.store(true);
    scene.rotate();
    scene.crash();
    (0..50).for_each(|_| scene.turn());
    scene.stop();
    scene.start();
    (0..50).for_each(|_| scene.turn());
    scene.write_line(&line());
    scene.settle();
}
