//! The cut by encoded size: fields are gathered until the next would not fit; one that does not fit alone is entered,
//! and its inner messages are gathered under its header.

use super::{
    Fields, Level, Oversize, OversizeReason, Piece, Placed, Split, SplitOptions, count_items, push_range,
};
use crate::Signal;
use crate::envelope::INNER;
use crate::metrics::DataKind;
use crate::pb::{Malformed, len_field_size, put_len_header};
use bytes::Bytes;
use std::ops::Range;

/// Gathers records from stretches of one request.
pub(super) struct Cutter<'a> {
    signal: Signal,
    request: &'a Bytes,
    max_bytes: usize,
    head_bytes: usize,
    /// The messages entered, outermost first; they wrap what is gathered.
    frames: Vec<Frame>,
    gathered: Gathered,
    pieces: Vec<(Bytes, u64)>,
    oversize: Vec<Oversize>,
}

/// A message that pieces repeat: its field number, and all its fields but the inner messages.
struct Frame {
    number: u32,
    header: Vec<Range<usize>>,
    header_bytes: usize,
}

/// Fields of the innermost frame that go into the next piece.
#[derive(Default)]
struct Gathered {
    ranges: Vec<Range<usize>>,
    bytes: usize,
    items: u64,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(signal: Signal, request: &'a Bytes, options: &SplitOptions<'_>) -> Self {
        Self {
            signal,
            request,
            max_bytes: options.max_bytes,
            head_bytes: options.head_bytes,
            frames: Vec::new(),
            gathered: Gathered::default(),
            pieces: Vec::new(),
            oversize: Vec::new(),
        }
    }

    /// Cuts stretches of top-level fields, in order, into as few pieces as gathering in order gives.
    pub(super) fn cut(&mut self, stretches: &[Range<usize>]) -> Result<(), Malformed> {
        if stretches.iter().map(Range::len).sum::<usize>() <= self.max_bytes {
            for stretch in stretches {
                let items = count_items(self.signal, Level::Request, &self.request[stretch.clone()])?;
                self.gathered.add(stretch.clone(), items);
            }
        } else {
            for stretch in stretches {
                self.gather(stretch.clone(), Level::Request)?;
            }
        }
        self.flush();
        Ok(())
    }

    /// The pieces, all with the same key and bucket.
    pub(super) fn finish(self, key: Option<&[u8]>, bucket: Option<i32>) -> Split {
        let key = key.map(Bytes::copy_from_slice);
        let pieces = self.pieces.into_iter();
        Split {
            pieces: pieces.map(|(value, items)| Piece { value, items, key: key.clone(), bucket }).collect(),
            oversize: self.oversize,
        }
    }

    /// Gathers the inner messages of the message at `range`.
    fn gather(&mut self, range: Range<usize>, level: Level) -> Result<(), Malformed> {
        let mut fields = Fields::new(self.request, range, level);
        while let Some(placed) = fields.next()? {
            if placed.number == level.inner_field() {
                self.place(&placed, level)?;
            }
        }
        Ok(())
    }

    fn place(&mut self, placed: &Placed<'_>, parent: Level) -> Result<(), Malformed> {
        let level = match parent {
            Level::Request => Level::Group,
            Level::Group => Level::Scope,
            Level::Scope => Level::Item,
            Level::Item | Level::Data => Level::Data,
        };
        // A data point counts as one whatever it holds.
        let items = if parent == Level::Data { 1 } else { count_items(self.signal, level, placed.content)? };
        if !self.fits(placed.field.len()) {
            self.flush();
        }
        if self.fits(placed.field.len()) {
            self.gathered.add(placed.field.clone(), items);
            return Ok(());
        }
        match level {
            Level::Request | Level::Group | Level::Scope => self.enter(placed, level, items),
            Level::Item if self.signal == Signal::Metrics => self.enter_metric(placed, items),
            Level::Item | Level::Data => {
                self.give_up(&placed.value, items, OversizeReason::Item);
                Ok(())
            }
        }
    }

    /// Cuts a resource group or scope group that does not fit alone.
    fn enter(&mut self, placed: &Placed<'_>, level: Level, items: u64) -> Result<(), Malformed> {
        let mut frame = Frame::new(placed.number);
        let mut fields = Fields::new(self.request, placed.value.clone(), level);
        while let Some(inner) = fields.next()? {
            if inner.number != INNER {
                frame.add(inner.field);
            }
        }
        self.frames.push(frame);
        if self.header_fits() {
            self.gather(placed.value.clone(), level)?;
            self.flush();
        } else {
            self.give_up(&placed.value, items, OversizeReason::Header);
        }
        self.frames.pop();
        Ok(())
    }

    /// Cuts a metric that does not fit alone between its data points.
    fn enter_metric(&mut self, placed: &Placed<'_>, items: u64) -> Result<(), Malformed> {
        let mut metric = Frame::new(placed.number);
        // A oneof: data of another kind replaces what came before, data of the same kind adds to it.
        let mut data: Option<DataKind> = None;
        let mut occurrences = Vec::new();
        let mut fields = Fields::new(self.request, placed.value.clone(), Level::Item);
        while let Some(inner) = fields.next()? {
            match DataKind::from_field_number(inner.number) {
                None => metric.add(inner.field),
                Some(kind) => {
                    if data.replace(kind) != Some(kind) {
                        occurrences.clear();
                    }
                    occurrences.push(inner.value);
                }
            }
        }
        let mut wrapper = Frame::new(data.map_or(0, DataKind::field_number));
        for occurrence in &occurrences {
            let mut fields = Fields::new(self.request, occurrence.clone(), Level::Data);
            while let Some(inner) = fields.next()? {
                if inner.number != Level::Data.inner_field() {
                    wrapper.add(inner.field);
                }
            }
        }
        self.frames.extend([metric, wrapper]);
        if self.header_fits() {
            for occurrence in occurrences {
                self.gather(occurrence, Level::Data)?;
            }
            self.flush();
        } else {
            self.give_up(&placed.value, items, OversizeReason::Header);
        }
        self.frames.truncate(self.frames.len() - 2);
        Ok(())
    }

    /// Whether the headers that every piece would repeat leave at least half of a piece to what they head.
    fn header_fits(&self) -> bool {
        self.frames.iter().map(|frame| frame.header_bytes).sum::<usize>() <= self.max_bytes / 2
    }

    /// Whether `more` bytes of fields would still fit into the piece being gathered.
    fn fits(&self, more: usize) -> bool {
        let gathered = self.gathered.bytes + more;
        let size = self
            .frames
            .iter()
            .rev()
            .fold(gathered, |inner, frame| len_field_size(frame.number, frame.header_bytes + inner));
        size <= self.max_bytes
    }

    fn flush(&mut self) {
        if self.gathered.ranges.is_empty() {
            return;
        }
        let gathered = std::mem::take(&mut self.gathered);
        let value = match (self.frames.as_slice(), gathered.ranges.as_slice()) {
            ([], [range]) => self.request.slice(range.clone()),
            _ => self.write(&gathered),
        };
        self.pieces.push((value, gathered.items));
    }

    fn write(&self, gathered: &Gathered) -> Bytes {
        let mut lengths = Vec::with_capacity(self.frames.len());
        let size = self.frames.iter().rev().fold(gathered.bytes, |inner, frame| {
            let length = frame.header_bytes + inner;
            lengths.push(length);
            len_field_size(frame.number, length)
        });
        let mut value = Vec::with_capacity(size);
        for (frame, length) in self.frames.iter().zip(lengths.into_iter().rev()) {
            put_len_header(&mut value, frame.number, length);
            put_ranges(&mut value, self.request, &frame.header);
        }
        put_ranges(&mut value, self.request, &gathered.ranges);
        debug_assert_eq!(value.len(), size, "the size computed is the size written");
        Bytes::from(value)
    }

    fn give_up(&mut self, message: &Range<usize>, items: u64, reason: OversizeReason) {
        let head = message.start..message.start + message.len().min(self.head_bytes);
        self.oversize.push(Oversize { head: self.request.slice(head), size: message.len(), items, reason });
    }
}

impl Frame {
    fn new(number: u32) -> Self {
        Self { number, header: Vec::new(), header_bytes: 0 }
    }

    fn add(&mut self, field: Range<usize>) {
        self.header_bytes += field.len();
        push_range(&mut self.header, field);
    }
}

impl Gathered {
    fn add(&mut self, field: Range<usize>, items: u64) {
        self.bytes += field.len();
        self.items += items;
        push_range(&mut self.ranges, field);
    }
}

pub(super) fn put_ranges(out: &mut Vec<u8>, request: &[u8], ranges: &[Range<usize>]) {
    for range in ranges {
        out.extend_from_slice(&request[range.clone()]);
    }
}
