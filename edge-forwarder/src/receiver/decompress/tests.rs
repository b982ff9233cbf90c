//! Every encoding, in chunks of every size that matters, at and over its bounds, whole and broken.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::budget::MemoryBudget;

const LIMIT: usize = 300_000;
const BUDGET: usize = 64 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

/// Text that compresses, but not to nothing.
fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * i / 7 % 251) as u8).collect()
}

fn decode(
    encoding: Encoding,
    compressed: &[u8],
    chunk: usize,
    budget: &MemoryBudget,
) -> Result<Vec<u8>, DecompressError> {
    let mut decoder = Decoder::new(encoding, BudgetBuffer::new(LIMIT, budget))?;
    for piece in compressed.chunks(chunk.max(1)) {
        decoder.push(piece)?;
    }
    decoder.finish().map(|buffer| buffer.into_request().bytes.to_vec())
}

/// Decodes in several chunk sizes, demands the same from each, and that no budget stays behind.
fn check(encoding: Encoding, compressed: &[u8], expected: impl Fn(Result<Vec<u8>, DecompressError>)) {
    for chunk in [1, 7, 1000, 1 << 20] {
        if chunk == 1 && compressed.len() > 100_000 {
            continue;
        }
        let budget = MemoryBudget::new(BUDGET);
        expected(decode(encoding, compressed, chunk, &budget));
        assert_eq!(budget.used(), 0, "chunks of {chunk}");
    }
}

#[test]
fn bodies_up_to_the_limit_come_out_whole() {
    for len in [0, 1, 1000, 131_072, LIMIT - 1, LIMIT] {
        let plain = sample(len);
        let whole =
            |result: Result<Vec<u8>, DecompressError>| assert!(result.unwrap() == plain, "length {len}");
        check(Encoding::Identity, &plain, whole);
        check(Encoding::Gzip, &gzip(&plain), whole);
        check(Encoding::Zstd, &zstd(&plain), whole);
    }
}

#[test]
fn one_byte_over_the_limit_is_too_large() {
    let plain = sample(LIMIT + 1);
    let too_large = |result: Result<Vec<u8>, DecompressError>| {
        let overflow = result.unwrap_err();
        assert!(
            matches!(overflow, DecompressError::Overflow(Overflow::Limit { limit: LIMIT })),
            "{overflow}"
        );
    };
    check(Encoding::Identity, &plain, too_large);
    check(Encoding::Gzip, &gzip(&plain), too_large);
    check(Encoding::Zstd, &zstd(&plain), too_large);
}

#[test]
fn several_members_and_frames_are_one_body() {
    let plain = sample(5000);
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let compress = if encoding == Encoding::Gzip { gzip } else { zstd };
        let parts = [compress(&plain[..10]), compress(&[]), compress(&plain[10..])].concat();
        check(encoding, &parts, |result| assert_eq!(result.unwrap(), plain));
    }
}

#[test]
fn a_cut_or_changed_body_is_corrupt() {
    let plain = sample(5000);
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let whole = if encoding == Encoding::Gzip { gzip(&plain) } else { zstd(&plain) };
        let corrupt = |result: Result<Vec<u8>, DecompressError>| {
            let error = result.unwrap_err();
            assert!(matches!(error, DecompressError::Corrupt { .. }), "{encoding:?}: {error}");
            assert!(error.to_string().contains(encoding.name()), "{error}");
        };
        for cut in [0, 1, 5, whole.len() / 2, whole.len() - 1] {
            check(encoding, &whole[..cut], corrupt);
        }
        check(encoding, b"{\"resourceLogs\":[]}", corrupt);
        check(encoding, &[whole.as_slice(), b"trailing bytes"].concat(), corrupt);
    }
}

#[test]
fn a_bomb_costs_no_more_than_the_limit() {
    let zeros = vec![0; 64 << 20];
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let bomb = if encoding == Encoding::Gzip { gzip(&zeros) } else { zstd(&zeros) };
        assert!(bomb.len() < 1_000_000, "{encoding:?} bomb has {} bytes", bomb.len());
        let budget = MemoryBudget::new(BUDGET);
        let mut decoder = Decoder::new(encoding, BudgetBuffer::new(LIMIT, &budget)).unwrap();
        let error = bomb.chunks(64).find_map(|piece| decoder.push(piece).err()).unwrap();
        assert!(matches!(error, DecompressError::Overflow(Overflow::Limit { .. })), "{error}");
        // The output, and the window of this frame: 2 MiB and zstd's own buffers.
        assert!(budget.used() < LIMIT + (4 << 20), "{} bytes", budget.used());
        drop(decoder);
        assert_eq!(budget.used(), 0);
    }
}

#[test]
fn a_zstd_window_over_the_bound_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(ZSTD_WINDOW_LOG_MAX + 1)).unwrap();
    encoder.write_all(&sample(100_000)).unwrap();
    let compressed = encoder.finish().unwrap();
    check(Encoding::Zstd, &compressed, |result| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("too much memory"), "{error}");
    });
}

#[test]
fn the_zstd_window_comes_out_of_the_budget() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(ZSTD_WINDOW_LOG_MAX)).unwrap();
    encoder.write_all(&sample(200_000)).unwrap();
    let compressed = encoder.finish().unwrap();
    let budget = MemoryBudget::new(1 << 20);
    let error = decode(Encoding::Zstd, &compressed, 1000, &budget).unwrap_err();
    assert!(matches!(error, DecompressError::Overflow(Overflow::Budget(_))), "{error}");
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_gzip_decoder_that_gets_no_byte_comes_out_of_the_budget() {
    let budget = MemoryBudget::new(3 * GZIP_DECODER_BYTES - 1);
    let open = || Decoder::new(Encoding::Gzip, BudgetBuffer::new(LIMIT, &budget));
    let idle = [open().unwrap(), open().unwrap()];
    assert!(matches!(open(), Err(DecompressError::Overflow(Overflow::Budget(_)))), "{} bytes", budget.used());
    drop(idle);
    assert_eq!(budget.used(), 0);
}

#[test]
fn only_the_output_stays_counted_after_the_end() {
    for (encoding, body) in [(Encoding::Gzip, gzip(&sample(5000))), (Encoding::Zstd, zstd(&sample(5000)))] {
        let budget = MemoryBudget::new(BUDGET);
        let mut decoder = Decoder::new(encoding, BudgetBuffer::new(LIMIT, &budget)).unwrap();
        decoder.push(&body).unwrap();
        let during = budget.used();
        let output = decoder.finish().unwrap();
        assert!(
            budget.used() < during && budget.used() < 2 * 16 * 1024,
            "{encoding:?}: {} bytes",
            budget.used()
        );
        drop(output);
    }
}

#[test]
fn a_gzip_header_that_does_not_end_comes_out_of_the_budget() {
    let header = flate2::GzBuilder::new().extra(vec![7; 60_000]);
    let body = header.write(Vec::new(), Compression::fast()).finish().unwrap();
    let budget = MemoryBudget::new(BUDGET);
    let mut decoder = Decoder::new(Encoding::Gzip, BudgetBuffer::new(LIMIT, &budget)).unwrap();
    decoder.push(&body[..12]).unwrap();
    assert!(budget.used() >= GZIP_DECODER_BYTES + 60_000, "{} bytes", budget.used());
    decoder.push(&body[12..]).unwrap();
    decoder.finish().unwrap();
    assert_eq!(budget.used(), 0);
}
