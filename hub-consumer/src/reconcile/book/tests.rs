//! What becomes of orders whose events come late, twice, out of order, by wrong clocks, or not at all.

use proptest::prelude::*;

use super::*;
use crate::reconcile::order::Point;

const T: Millis = 120_000;
/// When the first order of a test is captured.
const START: Millis = 1_000_000;
const SERVICES: [&str; 3] = ["payment-provider", "order-service", "restaurant-service"];

fn rules() -> Rules {
    let seconds = Duration::from_secs;
    Rules {
        confirm_within: seconds(120),
        silence: seconds(60),
        grace: seconds(5),
        lookback: seconds(172_800),
    }
}

fn event(id: &str, kind: Kind, own: Millis, received: Millis) -> Event {
    let of = OrderEvent {
        order_id: id.to_owned(),
        kind,
        market: "at".to_owned(),
        restaurant: "at-r1".to_owned(),
        partition: "0".to_owned(),
        trace_id: String::new(),
        amount: 10.0,
        due_at: None,
    };
    let service = if kind == Kind::At(Point::Captured) { SERVICES[0] } else { SERVICES[2] };
    Event { service: service.to_owned(), seen: Seen { own, received }, of: Some(of) }
}

fn at(id: &str, point: Point, received: Millis) -> Event {
    event(id, Kind::At(point), received, received)
}

/// Every service says that it is there.
fn beat(book: &mut Book, received: Millis) {
    for service in SERVICES {
        book.note(Event { service: service.to_owned(), seen: Seen { own: received, received }, of: None });
    }
}

/// The outcomes at a moment, by order, and what remains when they are settled.
fn decide(book: &mut Book, received: Millis) -> Vec<(String, Outcome)> {
    beat(book, received);
    let due = book.due();
    for due in &due {
        book.decided(&due.order_id, due.outcome);
    }
    book.forget();
    let mut outcomes: Vec<_> = due.into_iter().map(|due| (due.order_id, due.outcome)).collect();
    outcomes.sort();
    outcomes
}

/// After everything that belongs to an order of `START` must have come.
const LATER: Millis = START + T + 60_000;

#[test]
fn an_order_is_decided_when_its_time_is_over_and_once() {
    let mut book = Book::new(rules());
    book.note(at("lost", Point::Captured, START));
    book.note(at("well", Point::Captured, START));
    book.note(at("well", Point::TabletAcked, START + 4_000));
    assert_eq!(decide(&mut book, START + T + 4_999), []);
    let expected = [("lost".to_owned(), Outcome::Unconfirmed), ("well".to_owned(), Outcome::AckedInTime)];
    assert_eq!(decide(&mut book, START + T + 5_000), expected);
    book.note(at("well", Point::Captured, START));
    assert_eq!(decide(&mut book, LATER + T), []);
    let open = book.open(LATER + T)["at"];
    assert_eq!((open.residual, open.in_flight), (1, 0));
    assert_eq!(open.oldest, LATER + T - START);
}

#[test]
fn a_clock_that_is_a_minute_wrong_makes_no_order_late_or_lost() {
    for skew in [-60_000, 60_000] {
        for latency in [1_000, 70_000, 119_000] {
            let mut book = Book::new(rules());
            let acked = START + latency;
            book.note(event("o", Kind::At(Point::Captured), START, START));
            book.note(event("o", Kind::At(Point::TabletAcked), acked + skew, acked));
            assert_eq!(
                decide(&mut book, LATER),
                [("o".to_owned(), Outcome::AckedInTime)],
                "{skew} {latency}"
            );
            // The same with the clock of the one who charges.
            let mut book = Book::new(rules());
            book.note(event("o", Kind::At(Point::Captured), START + skew, START));
            book.note(event("o", Kind::At(Point::TabletAcked), acked, acked));
            assert_eq!(
                decide(&mut book, LATER),
                [("o".to_owned(), Outcome::AckedInTime)],
                "{skew} {latency}"
            );
        }
    }
}

#[test]
fn an_acknowledgement_that_is_told_late_is_in_time_and_one_that_came_late_is_not() {
    let mut book = Book::new(rules());
    book.note(at("told", Point::Captured, START));
    book.note(event("told", Kind::At(Point::TabletAcked), START + 3_000, START + T + 4_000));
    book.note(at("late", Point::Captured, START));
    book.note(at("late", Point::TabletAcked, START + T + 4_000));
    let expected = [("late".to_owned(), Outcome::AckedLate), ("told".to_owned(), Outcome::AckedInTime)];
    assert_eq!(decide(&mut book, LATER), expected);
}

#[test]
fn what_is_taken_back_is_not_lost() {
    let ends = [
        ("cancelled", Kind::Cancelled, Outcome::Cancelled),
        ("refunded", Kind::Refunded, Outcome::Refunded),
        ("rejected", Kind::Rejected, Outcome::Rejected),
    ];
    let mut book = Book::new(rules());
    for (id, end, _) in ends {
        book.note(at(id, Point::Captured, START));
        book.note(event(id, end, START + 9_000, START + 9_000));
    }
    // A rejected and a cancelled one get their money back as well.
    for id in ["cancelled", "rejected"] {
        book.note(event(id, Kind::Refunded, START + 12_000, START + 12_000));
    }
    assert_eq!(decide(&mut book, LATER), ends.map(|(id, _, outcome)| (id.to_owned(), outcome)));
    assert_eq!(book.open(LATER), HashMap::new());
}

#[test]
fn an_order_for_tomorrow_waits_for_tomorrow() {
    let due = START + 86_400_000;
    for is_cooked in [true, false] {
        let mut book = Book::new(rules());
        let mut captured = at("o", Point::Captured, START);
        captured.of.as_mut().unwrap().due_at = Some(due);
        book.note(captured);
        assert_eq!(decide(&mut book, LATER), []);
        let open = book.open(LATER)["at"];
        assert_eq!((open.scheduled, open.oldest, open.residual), (1, 0, 0));
        if is_cooked {
            book.note(at("o", Point::TabletAcked, due + 3_000));
        }
        assert_eq!(decide(&mut book, due + T), []);
        let outcome = if is_cooked { Outcome::AckedInTime } else { Outcome::Unconfirmed };
        assert_eq!(decide(&mut book, due + T + 5_000), [("o".to_owned(), outcome)]);
    }
}

#[test]
fn while_the_pipeline_stands_still_nothing_is_decided_and_no_age_grows() {
    let mut book = Book::new(rules());
    book.note(at("o", Point::Captured, START));
    beat(&mut book, START + 6_000);
    assert_eq!(book.due(), []);
    let hour = 3_600_000;
    assert_eq!(book.open(START + hour)["at"].oldest, 1_000 + 30_000);
    assert_eq!(book.due(), []);
}

#[test]
fn a_silent_service_is_waited_for_a_minute() {
    let mut book = Book::new(rules());
    book.note(at("o", Point::Captured, START));
    beat(&mut book, START + T);
    let payment = |received| Event {
        service: SERVICES[0].to_owned(),
        seen: Seen { own: received, received },
        of: None,
    };
    book.note(payment(START + T + 60_000));
    assert_eq!(book.due(), []);
    book.note(payment(START + T + 60_001));
    assert_eq!(book.due().len(), 1);
}

#[test]
fn a_restart_owes_what_was_owed_and_sees_it_settled() {
    let mut book = Book::new(rules());
    let owed = |id: &str| Owed {
        order_id: id.to_owned(),
        market: "at".to_owned(),
        restaurant: "at-r1".to_owned(),
        captured_at: START,
    };
    book.owe(vec![owed("refunded"), owed("cooked"), owed("open")]);
    book.note(event("refunded", Kind::Refunded, LATER, LATER));
    book.note(at("cooked", Point::TabletAcked, LATER));
    assert_eq!(decide(&mut book, LATER + 6_000), []);
    assert_eq!(book.open(LATER + 6_000)["at"].residual, 1);
    assert_eq!(book.confirmed_later(), &HashMap::from([("at".to_owned(), 1)]));
}

/// The events of twenty orders, every third lost at one of the points, with their right outcomes.
fn flow() -> (Vec<Event>, Vec<(String, Outcome)>) {
    let (mut events, mut outcomes) = (Vec::new(), Vec::new());
    for number in 0_i64..20 {
        let id = format!("{number:02}");
        let captured = START + number * 50;
        let reached =
            if number % 3 == 0 { 1 + usize::try_from(number).unwrap() % 5 } else { Point::ALL.len() };
        for (step, point) in (0_i64..).zip(&Point::ALL[..reached]) {
            events.push(at(&id, *point, captured + step * 700));
        }
        let outcome = if number % 3 == 0 { Outcome::Unconfirmed } else { Outcome::AckedInTime };
        outcomes.push((id, outcome));
    }
    (events, outcomes)
}

proptest! {
    #[test]
    fn order_and_number_of_events_change_no_outcome(
        order in Just((0..102_usize).collect::<Vec<_>>()).prop_shuffle(),
        twice in proptest::collection::vec(any::<bool>(), 102),
    ) {
        let (events, outcomes) = flow();
        let mut book = Book::new(rules());
        for (index, is_twice) in order.into_iter().zip(twice) {
            let Some(event) = events.get(index) else { continue };
            book.note(event.clone());
            if is_twice {
                book.note(event.clone());
            }
        }
        prop_assert_eq!(decide(&mut book, LATER), outcomes);
    }
}
