//! Content decoders that are pushed compressed bytes as they arrive and write into a [`BudgetBuffer`].
//!
//! The output is bounded at every step, so a bomb costs no more than one request's limit. What a decoder holds besides its
//! output is counted in the budget too: gzip's [`GZIP_DECODER_BYTES`] before they are allocated, since a sender that opens
//! requests and sends nothing holds them, and the fields of its header; zstd's window, at most 2^[`ZSTD_WINDOW_LOG_MAX`] bytes, as soon as the library has
//! taken it. gzip may have several members and zstd several frames; the end of the body must be the end of one.

use std::io::{self, Write};

use axum::http::{HeaderMap, HeaderName};
use flate2::write::MultiGzDecoder;
use thiserror::Error;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use super::{
    answer::Refusal,
    buffer::{BudgetBuffer, Overflow},
};

/// 8 MiB, what RFC 8878 asks every decoder to support and the default of the Collector's encoder.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// What flate2 and zlib-rs hold for one gzip body: the window and flate2's own buffer of 32 KiB each, and 14 KiB of tables.
const GZIP_DECODER_BYTES: usize = 80 * 1024;

/// What flate2 may hold of a header that is not complete: the extra field, the file name and the comment.
const GZIP_HEADER_MAX_BYTES: usize = 3 * 64 * 1024;

/// A content encoding that this receiver understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The names for `accept-encoding` headers.
    pub(crate) const ACCEPTED: &'static str = "identity,gzip,zstd";

    /// What `content-encoding` or `grpc-encoding` names: a list in which one encoding may stand beside any number of `identity`.
    ///
    /// # Errors
    /// [`Refusal::Encoding`] with all that the headers of that name say.
    pub(crate) fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Encoding, Refusal> {
        let lines = || headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
        let mut encoding = Encoding::Identity;
        for line in lines() {
            for listed in line.split(',') {
                encoding = match (encoding, Encoding::from_name(listed.trim())) {
                    (encoding, Some(Encoding::Identity)) => encoding,
                    (Encoding::Identity, Some(encoding)) => encoding,
                    _ => return Err(Refusal::Encoding { found: lines().collect::<Vec<_>>().join(", ") }),
                };
            }
        }
        Ok(encoding)
    }

    /// Names of encodings are case-insensitive, and `x-gzip` is gzip (RFC 9110).
    fn from_name(name: &str) -> Option<Encoding> {
        match name.to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Encoding::Identity),
            "gzip" | "x-gzip" => Some(Encoding::Gzip),
            "zstd" => Some(Encoding::Zstd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }
}

/// Why a body could not be decompressed.
#[derive(Debug, Error)]
pub(crate) enum DecompressError {
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// The bytes are not what the encoding's name says.
    #[error("the body is not valid {encoding}: {what}")]
    Corrupt { encoding: &'static str, what: String },
}

/// One body's decoder and its output.
pub(crate) enum Decoder {
    Identity(BudgetBuffer),
    Gzip(GzipDecoder),
    Zstd(ZstdDecoder),
}

pub(crate) struct GzipDecoder {
    decoder: Box<MultiGzDecoder<BudgetBuffer>>,
    /// Bytes besides the output that the budget knows of.
    counted: usize,
}

pub(crate) struct ZstdDecoder {
    context: DCtx<'static>,
    /// Bytes of the context that the budget knows of.
    counted: usize,
    /// No frame is open: the body may end here.
    between_frames: bool,
    output: BudgetBuffer,
}

impl Decoder {
    pub(crate) fn new(encoding: Encoding, output: BudgetBuffer) -> Result<Decoder, DecompressError> {
        Ok(match encoding {
            Encoding::Identity => Decoder::Identity(output),
            Encoding::Gzip => Decoder::Gzip(GzipDecoder::new(output)?),
            Encoding::Zstd => Decoder::Zstd(ZstdDecoder::new(output)?),
        })
    }

    /// Decodes the next bytes of the body.
    pub(crate) fn push(&mut self, input: &[u8]) -> Result<(), DecompressError> {
        match self {
            Decoder::Identity(output) => Ok(output.put(input)?),
            Decoder::Gzip(decoder) => decoder.push(input),
            Decoder::Zstd(decoder) => decoder.push(input),
        }
    }

    /// The body has ended: checks that the encoding has too.
    pub(crate) fn finish(self) -> Result<BudgetBuffer, DecompressError> {
        match self {
            Decoder::Identity(output) => Ok(output),
            Decoder::Gzip(decoder) => decoder.finish(),
            Decoder::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl GzipDecoder {
    fn new(mut output: BudgetBuffer) -> Result<GzipDecoder, DecompressError> {
        output.account(GZIP_DECODER_BYTES)?;
        Ok(GzipDecoder { decoder: Box::new(MultiGzDecoder::new(output)), counted: GZIP_DECODER_BYTES })
    }

    fn push(&mut self, input: &[u8]) -> Result<(), DecompressError> {
        let GzipDecoder { decoder, .. } = self;
        decoder.write_all(input).map_err(|error| gzip_error(&error, decoder.get_ref().overflow()))?;
        self.count_header()
    }

    /// Counts the fields that the current member's header brought, or all they can be while it is on its way: twelve bytes of
    /// it are enough to have 64 KiB allocated.
    fn count_header(&mut self) -> Result<(), DecompressError> {
        let length = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        let fields = self.decoder.header().map_or(GZIP_HEADER_MAX_BYTES, |header| {
            length(header.extra()) + length(header.filename()) + length(header.comment())
        });
        let size = GZIP_DECODER_BYTES + fields;
        if size > self.counted {
            self.decoder.get_mut().account(size - self.counted)?;
            self.counted = size;
        }
        Ok(())
    }

    fn finish(self) -> Result<BudgetBuffer, DecompressError> {
        let GzipDecoder { mut decoder, counted } = self;
        decoder.try_finish().map_err(|error| gzip_error(&error, decoder.get_ref().overflow()))?;
        let mut output = decoder.finish().map_err(|error| gzip_error(&error, None))?;
        output.unaccount(counted);
        Ok(output)
    }
}

impl ZstdDecoder {
    fn new(mut output: BudgetBuffer) -> Result<ZstdDecoder, DecompressError> {
        let mut context = DCtx::create();
        context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(zstd_error)?;
        let counted = context.sizeof();
        output.account(counted)?;
        Ok(ZstdDecoder { context, counted, between_frames: false, output })
    }

    fn push(&mut self, input: &[u8]) -> Result<(), DecompressError> {
        let mut input = InBuffer::around(input);
        while input.pos() < input.src.len() {
            self.drain(&mut input)?;
        }
        Ok(())
    }

    /// Decodes until the input is used up and all output it stands for is written, or a frame ends.
    fn drain(&mut self, input: &mut InBuffer<'_>) -> Result<(), DecompressError> {
        loop {
            let is_full = if self.output.is_at_limit() { self.probe(input)? } else { self.step(input)? };
            self.count_context()?;
            // Asking on between frames would open the next one.
            if self.between_frames || (input.pos() == input.src.len() && !is_full) {
                return Ok(());
            }
        }
    }

    /// One call of the library into the output; says whether it filled the room, so that more may be waiting.
    fn step(&mut self, input: &mut InBuffer<'_>) -> Result<bool, DecompressError> {
        self.output.reserve(1)?;
        let mut output = OutBuffer::around(self.output.spare());
        let hint = self.context.decompress_stream(&mut output, input).map_err(zstd_error)?;
        let (written, room) = (output.pos(), output.capacity());
        self.output.advance(written);
        self.between_frames = hint == 0;
        Ok(written == room)
    }

    /// The output is as long as it may be: goes on only to see whether the frame ends here, as it should.
    fn probe(&mut self, input: &mut InBuffer<'_>) -> Result<bool, DecompressError> {
        let mut beyond = [0; 1];
        let mut output = OutBuffer::around(&mut beyond[..]);
        let hint = self.context.decompress_stream(&mut output, input).map_err(zstd_error)?;
        self.between_frames = hint == 0;
        if output.pos() > 0 {
            self.output.reserve(1)?;
        }
        Ok(false)
    }

    fn count_context(&mut self) -> Result<(), DecompressError> {
        let size = self.context.sizeof();
        if size > self.counted {
            self.output.account(size - self.counted)?;
            self.counted = size;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<BudgetBuffer, DecompressError> {
        if !self.between_frames {
            return Err(DecompressError::Corrupt { encoding: "zstd", what: "it ends inside a frame".into() });
        }
        self.output.unaccount(self.counted);
        Ok(self.output)
    }
}

fn gzip_error(error: &io::Error, overflow: Option<Overflow>) -> DecompressError {
    match overflow {
        Some(overflow) => DecompressError::Overflow(overflow),
        None if error.kind() == io::ErrorKind::UnexpectedEof => DecompressError::Corrupt {
            encoding: Encoding::Gzip.name(),
            what: "it ends inside a member".into(),
        },
        None => DecompressError::Corrupt { encoding: Encoding::Gzip.name(), what: error.to_string() },
    }
}

fn zstd_error(code: usize) -> DecompressError {
    let what = get_error_name(code).to_lowercase();
    DecompressError::Corrupt { encoding: Encoding::Zstd.name(), what }
}

#[cfg(test)]
mod tests;
