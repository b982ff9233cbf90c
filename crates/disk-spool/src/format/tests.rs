//! What is encoded is decoded, and nothing else is.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::Tally;

fn cursor() -> Cursor {
    Cursor {
        incarnation: Incarnation(7),
        generation: 3,
        watermark: 10,
        next: 40,
        complete_below: u64::MAX,
        ranges: vec![12..13, 20..40],
        tallies: vec![ResolvedTally { segment: 5, resolved: Tally { frames: 5, items: 6, bytes: 7 } }],
        note: Bytes::from_static(b"note"),
    }
}

fn header() -> Header {
    Header { incarnation: Incarnation(7), first: 12, previous_end: 10, created_ms: 99 }
}

#[test]
fn a_header_comes_back_and_a_flipped_bit_in_it_does_not() {
    let bytes = header().encode();
    assert_eq!(Header::decode(&bytes), Ok(header()));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::decode(&damaged).is_err(), "bit {bit}");
    }
    let mut newer = bytes;
    newer[8] = 2;
    assert_eq!(Header::decode(&newer), Err(HeaderError::Version(2)));
}

#[test]
fn a_cursor_comes_back_and_a_flipped_bit_or_missing_byte_makes_it_none() {
    let bytes = cursor().encode();
    assert_eq!(Cursor::decode(&bytes), Some(cursor()));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Cursor::decode(&damaged), None, "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert_eq!(Cursor::decode(&bytes[..length]), None, "{length} bytes");
    }
}

#[test]
fn a_seal_of_another_spool_or_segment_is_none() {
    let seal = Seal { end: 20, total: Tally { frames: 8, items: 9, bytes: 10 }, oldest_ms: 1, newest_ms: 2 };
    let bytes = seal.encode(1, 50);
    assert_eq!(Seal::decode(1, &bytes, 12), Some(seal));
    assert_eq!(Seal::decode(2, &bytes, 12), None, "another incarnation");
    assert_eq!(Seal::decode(1, &bytes, 21), None, "it would end before it begins");
    assert_eq!(Seal::decode(1, &bytes, 13), None, "it would hold more frames than sequences");
}

#[test]
fn only_twenty_digits_name_a_segment() {
    assert_eq!(parse_segment_name(&segment_name(u64::MAX)), Some(u64::MAX));
    for name in ["1.seg", "0000000000000000000a.seg", "+0000000000000000001.seg", "99999999999999999999.seg"]
    {
        assert_eq!(parse_segment_name(name), None, "{name}");
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_to_something_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Header::decode(&bytes), Cursor::decode(&bytes), Prefix::decode(&bytes));
        let _ = Seal::decode(0, &bytes, 0);
    }
}
