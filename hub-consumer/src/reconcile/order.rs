//! One order: the events that came of it, and what they make of it. Pure.

use std::time::Duration;

/// Milliseconds since the epoch.
pub(super) type Millis = i64;

/// One of the six points at which an order is seen on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// The payment provider has charged.
    Captured,
    /// The order service has its row.
    Stored,
    /// The broker has the record.
    Appended,
    /// Our consumer has taken and acked it.
    Acked,
    /// The restaurant has its row.
    Saved,
    /// The tablet has acknowledged.
    TabletAcked,
}

impl Point {
    /// All six, as an order passes them.
    pub const ALL: [Point; 6] =
        [Point::Captured, Point::Stored, Point::Appended, Point::Acked, Point::Saved, Point::TabletAcked];

    /// As a label says it; sorted it is the order of the way.
    pub fn as_str(self) -> &'static str {
        match self {
            Point::Captured => "1_captured",
            Point::Stored => "2_stored",
            Point::Appended => "3_appended",
            Point::Acked => "4_acked",
            Point::Saved => "5_saved",
            Point::TabletAcked => "6_tablet_acked",
        }
    }

    /// Whether the point is in a set of [`Order::points`].
    pub(super) fn is_in(self, points: u8) -> bool {
        points & self.bit() != 0
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The tablet acknowledged within T.
    AckedInTime,
    /// The tablet acknowledged after T.
    AckedLate,
    /// The restaurant does not want it.
    Rejected,
    /// Its customer has cancelled.
    Cancelled,
    /// The money went back.
    Refunded,
    /// Charged, and nobody at the restaurant knows of it.
    Unconfirmed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 6] = [
        Outcome::AckedInTime,
        Outcome::AckedLate,
        Outcome::Rejected,
        Outcome::Cancelled,
        Outcome::Refunded,
        Outcome::Unconfirmed,
    ];

    /// As labels and the table say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::AckedInTime => "restaurant_acked_in_time",
            Outcome::AckedLate => "restaurant_acked_late",
            Outcome::Rejected => "rejected",
            Outcome::Cancelled => "cancelled",
            Outcome::Refunded => "refunded",
            Outcome::Unconfirmed => "unconfirmed",
        }
    }

    pub(super) fn of(text: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }

    /// Whether the order should be at the restaurant: only such orders are counted at the six points.
    pub fn is_for_restaurant(self) -> bool {
        matches!(self, Outcome::AckedInTime | Outcome::AckedLate | Outcome::Unconfirmed)
    }
}

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    At(Point),
    Cancelled,
    Refunded,
    Rejected,
}

impl Kind {
    const COUNT: usize = Point::ALL.len() + 3;

    /// By the name of the event.
    pub(super) fn of(event: &str) -> Option<Kind> {
        Some(match event {
            "order.captured" => Kind::At(Point::Captured),
            "order.stored" => Kind::At(Point::Stored),
            "order.appended" => Kind::At(Point::Appended),
            "order.acked" => Kind::At(Point::Acked),
            "order.saved" => Kind::At(Point::Saved),
            "order.tablet_acked" => Kind::At(Point::TabletAcked),
            "order.cancelled" => Kind::Cancelled,
            "order.refunded" => Kind::Refunded,
            "order.rejected" => Kind::Rejected,
            _ => return None,
        })
    }

    fn index(self) -> usize {
        match self {
            Kind::At(point) => point as usize,
            Kind::Cancelled => 6,
            Kind::Refunded => 7,
            Kind::Rejected => 8,
        }
    }
}

/// When an event happened, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// By the clock of the service.
    pub(super) own: Millis,
    /// By the platform's: when Kafka had it.
    pub(super) received: Millis,
}

/// One order.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub(super) market: String,
    pub(super) restaurant: String,
    pub(super) partition: String,
    pub(super) trace_id: String,
    pub(super) amount: f64,
    pub(super) due_at: Option<Millis>,
    seen: [Option<Seen>; Kind::COUNT],
    /// Once it is decided.
    pub(super) outcome: Option<Outcome>,
}

impl Order {
    /// The first event of a kind counts; of one that comes again the earlier.
    pub(super) fn note(&mut self, kind: Kind, seen: Seen) {
        let known = &mut self.seen[kind.index()];
        if known.is_none_or(|known| seen.received < known.received) {
            *known = Some(seen);
        }
    }

    /// When the platform received its capture; `None` while it is not known to be charged.
    pub(super) fn captured(&self) -> Option<Millis> {
        self.at(Kind::At(Point::Captured)).map(|seen| seen.received)
    }

    /// From when on the restaurant should have it: its capture, or when it is due.
    pub(super) fn base(&self) -> Option<Millis> {
        self.captured().map(|captured| captured.max(self.due_at.unwrap_or(captured)))
    }

    /// Whether its customer is owed nothing.
    pub(super) fn is_settled(&self) -> bool {
        let ends = [Kind::At(Point::TabletAcked), Kind::Rejected, Kind::Cancelled, Kind::Refunded];
        ends.into_iter().any(|end| self.at(end).is_some())
    }

    pub(super) fn is_tablet_acked(&self) -> bool {
        self.at(Kind::At(Point::TabletAcked)).is_some()
    }

    /// What it is when T is over.
    pub(super) fn judge(&self, confirm_within: Duration) -> Outcome {
        if let Some(acked) = self.at(Kind::At(Point::TabletAcked)) {
            return match self.is_in_time(acked, confirm_within) {
                true => Outcome::AckedInTime,
                false => Outcome::AckedLate,
            };
        }
        let has = |kind| self.at(kind).is_some();
        match () {
            () if has(Kind::Rejected) => Outcome::Rejected,
            () if has(Kind::Cancelled) => Outcome::Cancelled,
            () if has(Kind::Refunded) => Outcome::Refunded,
            () => Outcome::Unconfirmed,
        }
    }

    /// By the platform's clock or by the services': telemetry may be late, or a clock wrong.
    fn is_in_time(&self, acked: Seen, confirm_within: Duration) -> bool {
        let Some(captured) = self.at(Kind::At(Point::Captured)) else { return true };
        let within = millis(confirm_within);
        let from = |capture: Millis| capture.max(self.due_at.unwrap_or(capture));
        acked.received - from(captured.received) <= within || acked.own - from(captured.own) <= within
    }

    /// The points that have seen it, a bit for each.
    pub(super) fn points(&self) -> u8 {
        let seen = Point::ALL.into_iter().filter(|point| self.at(Kind::At(*point)).is_some());
        seen.fold(0, |points, point| points | point.bit())
    }

    /// When the last event of it came.
    pub(super) fn last_received(&self) -> Millis {
        self.seen.iter().flatten().map(|seen| seen.received).max().unwrap_or_default()
    }

    fn at(&self, kind: Kind) -> Option<Seen> {
        self.seen[kind.index()]
    }
}

pub(super) fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}
