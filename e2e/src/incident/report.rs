//! The six points of a market, as the panel has them.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::mimir::Mimir;

const POINTS: [&str; 6] = ["1_captured", "2_stored", "3_appended", "4_acked", "5_saved", "6_tablet_acked"];

/// How many orders each point has seen.
#[derive(Debug)]
pub(super) struct Points([f64; 6]);

impl Points {
    /// Of the orders that were decided within `window` until now.
    pub(super) async fn read(mimir: &Mimir, market: &str, window: Duration) -> Result<Self> {
        let sum = |at: &str| {
            format!("sum by (point) (last_over_time(order_points_total{{market=\"{market}\"}}[1m]{at}))")
        };
        let promql = format!("{} - {}", sum(""), sum(&format!(" offset {}s", window.as_secs())));
        let mut points = [0.0; 6];
        for series in mimir.vector(&promql).await? {
            let name = series.labels.get("point").context("a point has a name")?;
            let index = POINTS.iter().position(|point| point == name).context("a point is one of the six")?;
            points[index] = series.samples.first().map_or(0.0, |(_, value)| *value);
        }
        Ok(Self(points))
    }

    /// The last point, from 1, that has seen all orders, when the next one has not.
    pub(super) fn parting(&self) -> Option<usize> {
        self.0.windows(2).position(|pair| pair[1] < pair[0]).map(|index| index + 1)
    }
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for point in self.0 {
            write!(f, "{point:.0} | ")?;
        }
        match self.parting() {
            Some(point) => write!(f, "{point} → {}", point + 1),
            None => write!(f, "nowhere"),
        }
    }
}

pub(super) fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
