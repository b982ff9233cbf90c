//! Re-emits a metrics request without some of its metrics or points, and cuts one in two, all by copying slices: the
//! sink drops what the store would refuse, and bisects towards what it did refuse.

use super::{DATA_DEPTH_LEFT, Metric, POINTS, Point};
use crate::envelope::{GROUP_DEPTH_LEFT, GROUPS, INNER, ITEM_DEPTH_LEFT, SCOPE_DEPTH_LEFT};
use crate::metrics::DataKind;
use crate::pb::{MAX_DEPTH, Malformed, Reader, put_len_field};

/// A request after [`retain`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retained {
    /// The request without what was dropped; `None` when nothing was, so that the original bytes can be used.
    pub rewritten: Option<Vec<u8>>,
    /// Data points kept.
    pub kept_points: u64,
    /// Data points dropped, those of dropped metrics included.
    pub dropped_points: u64,
    /// Metrics kept.
    pub kept_metrics: u64,
    /// Metrics dropped, because they were not wanted or none of their points was.
    pub dropped_metrics: u64,
}

/// Two requests that together hold what one held.
pub type Halves = (Vec<u8>, Vec<u8>);

/// Drops the metrics and points for which the functions, each called once per metric and point in wire order, return
/// false; groups that become empty go too. Everything kept is kept byte for byte.
///
/// # Errors
/// [`Malformed`] when the request is not well-formed.
pub fn retain(
    request: &[u8],
    keep_metric: impl FnMut(&Metric<'_>) -> bool,
    keep_point: impl FnMut(&Metric<'_>, &Point<'_>) -> bool,
) -> Result<Retained, Malformed> {
    let mut filter = Filter { keep_metric, keep_point, retained: Retained::default() };
    filter.retained.rewritten = match filter.message(request, &LEVELS)? {
        Outcome::Same => None,
        Outcome::Dropped => Some(Vec::new()),
        Outcome::Rewritten(bytes) => Some(bytes),
    };
    Ok(filter.retained)
}

/// Cuts a request into two of about equally many points, between metrics or, when it holds a single metric, between
/// points. `None` when there is nothing left to cut: at most one metric of at most one point.
///
/// # Errors
/// [`Malformed`] when the request is not well-formed.
pub fn halve(request: &[u8]) -> Result<Option<Halves>, Malformed> {
    let mut points_before = Vec::new();
    let mut total = 0;
    retain(
        request,
        |metric| {
            points_before.push(total);
            total += metric.point_count;
            true
        },
        |_, _| true,
    )?;
    if points_before.len() > 1 {
        let middle =
            points_before.partition_point(|&before| before * 2 < total).clamp(1, points_before.len() - 1);
        let half = |first: bool| {
            let mut index = 0;
            let keep = |_: &Metric<'_>| {
                index += 1;
                (index <= middle) == first
            };
            retain(request, keep, |_, _| true).map(|retained| retained.rewritten.unwrap_or_default())
        };
        return Ok(Some((half(true)?, half(false)?)));
    }
    if total < 2 {
        return Ok(None);
    }
    let half = |first: bool| {
        let mut index = 0;
        let keep = |_: &Metric<'_>, _: &Point<'_>| {
            index += 1;
            (index <= total / 2) == first
        };
        retain(request, |_| true, keep).map(|retained| retained.rewritten.unwrap_or_default())
    };
    Ok(Some((half(true)?, half(false)?)))
}

struct Filter<M, P> {
    keep_metric: M,
    keep_point: P,
    retained: Retained,
}

/// What became of a message.
enum Outcome {
    Same,
    Dropped,
    Rewritten(Vec<u8>),
}

/// The field that leads inwards from request, resource group and scope group, and the levels that may nest below each.
const LEVELS: [(u32, u32); 3] = [(GROUPS, MAX_DEPTH), (INNER, GROUP_DEPTH_LEFT), (INNER, SCOPE_DEPTH_LEFT)];

impl<M, P> Filter<M, P>
where
    M: FnMut(&Metric<'_>) -> bool,
    P: FnMut(&Metric<'_>, &Point<'_>) -> bool,
{
    /// Filters a message by filtering its inner messages; without `levels` it is a metric.
    fn message(&mut self, message: &[u8], levels: &[(u32, u32)]) -> Result<Outcome, Malformed> {
        let Some((&(inner_field, depth_left), inner_levels)) = levels.split_first() else {
            return self.metric(message);
        };
        // Nothing is copied until something changes.
        let mut out: Option<Vec<u8>> = None;
        let mut kept = 0;
        let mut reader = Reader::nested(message, depth_left);
        while let Some(field) = reader.next()? {
            let raw = &message[field.offset..reader.offset()];
            if field.number != inner_field {
                extend(&mut out, raw);
                continue;
            }
            match self.message(field.bytes()?, inner_levels)? {
                Outcome::Same => {
                    kept += 1;
                    extend(&mut out, raw);
                }
                Outcome::Dropped => {
                    out.get_or_insert_with(|| message[..field.offset].to_vec());
                }
                Outcome::Rewritten(bytes) => {
                    kept += 1;
                    let out = out.get_or_insert_with(|| message[..field.offset].to_vec());
                    put_len_field(out, inner_field, &bytes);
                }
            }
        }
        Ok(match out {
            None => Outcome::Same,
            Some(_) if kept == 0 => Outcome::Dropped,
            Some(bytes) => Outcome::Rewritten(bytes),
        })
    }

    fn metric(&mut self, bytes: &[u8]) -> Result<Outcome, Malformed> {
        let metric = Metric::parse(bytes)?;
        if !(self.keep_metric)(&metric) {
            return Ok(self.drop_metric(metric.point_count));
        }
        let mut wanted = Vec::with_capacity(usize::try_from(metric.point_count).unwrap_or(0));
        for point in metric.points() {
            wanted.push((self.keep_point)(&metric, &point?));
        }
        let kept = wanted.iter().filter(|&&wanted| wanted).count() as u64;
        let dropped = metric.point_count - kept;
        if kept == 0 && dropped > 0 {
            return Ok(self.drop_metric(dropped));
        }
        self.retained.kept_metrics += 1;
        self.retained.kept_points += kept;
        self.retained.dropped_points += dropped;
        match metric.kind {
            Some(kind) if dropped > 0 => {
                Ok(Outcome::Rewritten(without_points(bytes, &metric, kind, &wanted)?))
            }
            _ => Ok(Outcome::Same),
        }
    }

    fn drop_metric(&mut self, points: u64) -> Outcome {
        self.retained.dropped_metrics += 1;
        self.retained.dropped_points += points;
        Outcome::Dropped
    }
}

/// The metric with only the wanted points; data that another kind replaced is left out.
fn without_points(
    bytes: &[u8],
    metric: &Metric<'_>,
    kind: DataKind,
    wanted: &[bool],
) -> Result<Vec<u8>, Malformed> {
    let mut data = Vec::with_capacity(metric.data.len());
    let mut wanted = wanted.iter();
    let mut reader = Reader::nested(&metric.data, DATA_DEPTH_LEFT);
    while let Some(field) = reader.next()? {
        if field.number != POINTS || wanted.next() == Some(&true) {
            data.extend_from_slice(&metric.data[field.offset..reader.offset()]);
        }
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut reader = Reader::nested(bytes, ITEM_DEPTH_LEFT);
    while let Some(field) = reader.next()? {
        if DataKind::from_field_number(field.number).is_none() {
            out.extend_from_slice(&bytes[field.offset..reader.offset()]);
        }
    }
    put_len_field(&mut out, kind.field_number(), &data);
    Ok(out)
}

fn extend(out: &mut Option<Vec<u8>>, raw: &[u8]) {
    if let Some(out) = out {
        out.extend_from_slice(raw);
    }
}
