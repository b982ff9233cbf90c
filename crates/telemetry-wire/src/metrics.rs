//! Metrics, read in place, and requests rewritten or cut without decoding: what the hub's metrics sink needs.

pub mod rewrite;

use crate::common::Attributes;
use crate::envelope::{ITEM_DEPTH_LEFT, append};
pub use crate::envelope::{Request, ResourceGroup as ResourceMetrics, ScopeGroup as ScopeMetrics};
use crate::pb::{Malformed, Reader, Repeated};
use std::borrow::Cow;

/// One metric with its data points.
#[derive(Debug, Clone, Default)]
pub struct Metric<'a> {
    /// The metric's name.
    pub name: &'a [u8],
    /// The unit, in UCUM.
    pub unit: &'a [u8],
    /// What kind of points it holds; `None` when no data is set.
    pub kind: Option<DataKind>,
    /// The aggregation temporality; `Unspecified` for gauges and summaries.
    pub temporality: Temporality,
    /// Whether a sum never decreases.
    pub is_monotonic: bool,
    /// Data points held.
    pub point_count: u64,
    data: Cow<'a, [u8]>,
}

/// The kind of a metric's data, by its field number in `Metric`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataKind {
    /// Last values.
    Gauge,
    /// Sums.
    Sum,
    /// Histograms with explicit bounds.
    Histogram,
    /// Histograms with exponential buckets.
    ExponentialHistogram,
    /// Quantiles computed by the sender.
    Summary,
}

/// Whether points report changes or totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Temporality {
    /// Not said, or a number this version does not know.
    #[default]
    Unspecified,
    /// Changes since the last report.
    Delta,
    /// Totals since the start time.
    Cumulative,
}

/// What the kinds of data points have in common.
#[derive(Debug, Clone, Default)]
pub struct Point<'a> {
    /// Start of the interval, in nanoseconds since the epoch; 0 when unknown.
    pub start_time_unix_nano: u64,
    /// When the point was taken, in nanoseconds since the epoch.
    pub time_unix_nano: u64,
    /// Bit 0: no value was recorded.
    pub flags: u32,
    kind: Option<DataKind>,
    bytes: &'a [u8],
}

impl DataKind {
    /// The field of `Metric` that holds data of this kind.
    pub const fn field_number(self) -> u32 {
        match self {
            DataKind::Gauge => 5,
            DataKind::Sum => 7,
            DataKind::Histogram => 9,
            DataKind::ExponentialHistogram => 10,
            DataKind::Summary => 11,
        }
    }

    /// The kind held by a field of `Metric`, if it holds data.
    pub const fn from_field_number(number: u32) -> Option<Self> {
        Some(match number {
            5 => DataKind::Gauge,
            7 => DataKind::Sum,
            9 => DataKind::Histogram,
            10 => DataKind::ExponentialHistogram,
            11 => DataKind::Summary,
            _ => return None,
        })
    }

    const fn attributes_field(self) -> u32 {
        match self {
            DataKind::Gauge | DataKind::Sum | DataKind::Summary => 7,
            DataKind::Histogram => 9,
            DataKind::ExponentialHistogram => 1,
        }
    }

    const fn flags_field(self) -> u32 {
        match self {
            DataKind::Gauge | DataKind::Sum | DataKind::Summary => 8,
            DataKind::Histogram | DataKind::ExponentialHistogram => 10,
        }
    }

    const fn has_temporality(self) -> bool {
        !matches!(self, DataKind::Gauge | DataKind::Summary)
    }
}

impl<'a> Metric<'a> {
    /// Reads one metric; its points are counted now and read as they are iterated.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut metric = Metric::default();
        let mut reader = Reader::nested(bytes, ITEM_DEPTH_LEFT);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => metric.name = field.bytes()?,
                3 => metric.unit = field.bytes()?,
                number => {
                    if let Some(kind) = DataKind::from_field_number(number) {
                        metric.merge_data(kind, field.bytes()?);
                    }
                }
            }
        }
        metric.read_data()?;
        Ok(metric)
    }

    /// The encoded data points, in wire order.
    pub fn encoded_points(&self) -> Repeated<'_> {
        Repeated::new(&self.data, POINTS, DATA_DEPTH_LEFT)
    }

    /// The data points, in wire order.
    pub fn points(&self) -> impl Iterator<Item = Result<Point<'_>, Malformed>> {
        let kind = self.kind;
        self.encoded_points().map(move |bytes| Point::parse(kind, bytes?))
    }

    /// The data is a oneof: another kind replaces it, the same kind once more adds to it.
    fn merge_data(&mut self, kind: DataKind, bytes: &'a [u8]) {
        if self.kind.replace(kind) != Some(kind) {
            self.data = Cow::Borrowed(&[]);
        }
        append(&mut self.data, bytes);
    }

    fn read_data(&mut self) -> Result<(), Malformed> {
        let Some(kind) = self.kind else { return Ok(()) };
        let mut reader = Reader::nested(&self.data, DATA_DEPTH_LEFT);
        while let Some(field) = reader.next()? {
            match field.number {
                POINTS => {
                    field.bytes()?;
                    self.point_count += 1;
                }
                2 if kind.has_temporality() => self.temporality = Temporality::from_number(field.int32()?),
                3 if kind == DataKind::Sum => self.is_monotonic = field.varint()? != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Temporality {
    fn from_number(number: i32) -> Self {
        match number {
            1 => Temporality::Delta,
            2 => Temporality::Cumulative,
            _ => Temporality::Unspecified,
        }
    }
}

impl<'a> Point<'a> {
    fn parse(kind: Option<DataKind>, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut point = Point { kind, bytes, ..Point::default() };
        let flags_field = kind.map_or(0, DataKind::flags_field);
        let mut reader = Reader::nested(bytes, POINT_DEPTH_LEFT);
        while let Some(field) = reader.next()? {
            match field.number {
                2 => point.start_time_unix_nano = field.fixed64()?,
                3 => point.time_unix_nano = field.fixed64()?,
                number if number == flags_field => point.flags = field.uint32()?,
                _ => {}
            }
        }
        Ok(point)
    }

    /// The attributes, in wire order.
    pub fn attributes(&self) -> Attributes<'a> {
        let number = self.kind.map_or(0, DataKind::attributes_field);
        Attributes::new(self.bytes, number, POINT_DEPTH_LEFT)
    }
}

/// The data points in one encoded metric.
pub(crate) fn count_points(metric: &[u8]) -> Result<u64, Malformed> {
    Ok(Metric::parse(metric)?.point_count)
}

/// The field of every kind of data that holds its points.
pub(crate) const POINTS: u32 = 1;

/// Levels that may nest below a metric's data.
const DATA_DEPTH_LEFT: u32 = ITEM_DEPTH_LEFT - 1;
/// Levels that may nest below a data point.
const POINT_DEPTH_LEFT: u32 = DATA_DEPTH_LEFT - 1;
