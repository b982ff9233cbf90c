//! What becomes of fragments and lines.

use std::borrow::Cow;

use super::*;

fn fragment(stream: Stream, is_partial: bool, text: &str) -> Fragment<'_> {
    Fragment { time_unix_nano: 5, stream, is_partial, text: Cow::Borrowed(text.as_bytes()) }
}

fn rules(lines: Option<Joining>) -> JoinRules {
    JoinRules { lines, max_bytes: 10 }
}

/// Pushes fragments that are ten bytes apart; each piece as text, with its part.
fn pieces(
    joiner: &mut Joiner,
    rules: &JoinRules,
    from: u64,
    fragments: &[(Stream, bool, &str)],
) -> Vec<String> {
    let mut pieces = Vec::new();
    for (index, (stream, is_partial, text)) in fragments.iter().enumerate() {
        let offset = from + 10 * index as u64;
        joiner.push(rules, &fragment(*stream, *is_partial, text), offset, &mut |piece| {
            pieces.push(shown(&piece))
        });
    }
    pieces
}

fn shown(piece: &Piece<'_>) -> String {
    let text = String::from_utf8_lossy(piece.text);
    match piece.part {
        None => text.into_owned(),
        Some(PartOf { index, is_last }) => format!("{text}#{index}{}", if is_last { "." } else { "" }),
    }
}

const OUT: Stream = Stream::Stdout;
const ERR: Stream = Stream::Stderr;

#[test]
fn fragments_of_two_streams_are_put_together_each_by_itself() {
    let mut joiner = Joiner::default();
    let fragments =
        [(OUT, true, "ab"), (ERR, true, "12"), (OUT, false, "cd"), (ERR, false, "34"), (OUT, false, "e")];
    assert_eq!(pieces(&mut joiner, &rules(None), 0, &fragments), ["abcd", "1234", "e"]);
    assert!(!joiner.is_holding());
}

#[test]
fn a_line_above_the_bound_comes_in_parts_that_are_the_line() {
    let mut joiner = Joiner::default();
    let fragments = [
        (OUT, true, "aaaaaa"),
        (OUT, true, "bbbbbb"),
        (OUT, true, "cc"),
        (OUT, false, "dddddd"),
        (OUT, false, "e"),
    ];
    assert_eq!(
        pieces(&mut joiner, &rules(None), 0, &fragments),
        ["aaaaaa#0", "bbbbbbcc#1", "dddddd#2.", "e"]
    );
}

#[test]
fn a_position_brings_back_what_was_unfinished() {
    let fragments = [
        (OUT, true, "ab"),
        (ERR, false, "x"),
        (ERR, true, "12"),
        (OUT, true, "cd"),
        (ERR, false, "3"),
        (OUT, false, "e"),
    ];
    for stop in 0..fragments.len() {
        let mut whole = Joiner::default();
        let mut expected = pieces(&mut whole, &rules(None), 0, &fragments);
        let mut first = Joiner::default();
        let before = pieces(&mut first, &rules(None), 0, &fragments[..stop]);
        let position = first.position(10 * stop as u64);
        let mut again = Joiner::resumed_at(&position);
        let from = (position.rereads_from() / 10) as usize;
        let after = pieces(&mut again, &rules(None), position.rereads_from(), &fragments[from..]);
        let mut both = [before, after].concat();
        both.sort();
        expected.sort();
        assert_eq!(both, expected, "stopped before {stop}");
    }
}

#[test]
fn what_is_unfinished_goes_on_in_the_next_file_unless_that_has_it_already() {
    let start =
        |joiner: &mut Joiner| pieces(joiner, &rules(None), 0, &[(OUT, true, "ab"), (ERR, true, "12")]);
    let mut old = Joiner::default();
    start(&mut old);
    let mut fresh = old.carried_to(&Position::default());
    assert!(fresh.position(0).needs_before());
    assert_eq!(pieces(&mut fresh, &rules(None), 0, &[(OUT, false, "c")]), ["abc"]);
    assert!(fresh.position(10).needs_before(), "the other stream's is still open");

    let mut old = Joiner::default();
    start(&mut old);
    // The next file is read again from its beginning, for the stream that is unfinished.
    let fragments = [(OUT, false, "c"), (OUT, false, "d"), (ERR, true, "3"), (ERR, false, "4")];
    let mut read_on = old.carried_to(&fresh.position(10));
    assert_eq!(pieces(&mut read_on, &rules(None), 0, &fragments), ["d", "1234"]);
}

#[test]
fn lines_that_belong_together_are_one_record_and_json_stands_alone() {
    let joining = rules(Some(Joining::default()));
    let mut joiner = Joiner::default();
    let lines = [
        (OUT, false, "Boom"),
        (OUT, false, "\tat x"),
        (OUT, false, "next"),
        (OUT, false, "{}"),
        (OUT, false, "last"),
    ];
    assert_eq!(pieces(&mut joiner, &joining, 0, &lines), ["Boom\n\tat x", "next", "{}"]);
    assert_eq!(joiner.position(50).rereads_from(), 40);
    let mut rest = Vec::new();
    joiner.flush(&mut |piece| rest.push(shown(&piece)));
    assert_eq!(rest, ["last"]);
    assert!(!joiner.position(50).has_held());
}

#[test]
fn a_line_whose_rest_does_not_come_is_a_part_and_so_is_the_rest() {
    let mut joiner = Joiner::default();
    assert!(pieces(&mut joiner, &rules(None), 0, &[(OUT, true, "ab")]).is_empty());
    assert!(joiner.is_cut());
    let mut flushed = Vec::new();
    joiner.flush(&mut |piece| flushed.push(shown(&piece)));
    assert_eq!(flushed, ["ab#0"]);
    let mut again = Joiner::resumed_at(&joiner.position(10));
    assert_eq!(pieces(&mut again, &rules(None), 10, &[(OUT, false, "c"), (OUT, false, "d")]), ["c#1.", "d"]);
}
