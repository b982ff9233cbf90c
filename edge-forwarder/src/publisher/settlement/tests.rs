//! What a request's cuts take of the memory budget; what the broker says to records is in the integration tests.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};
use prost::Message;
use service_runtime::{Runtime, Settings};
use telemetry_wire::Signal;

use super::*;
use crate::{Config, budget::MemoryBudget, metrics::Metrics, publisher::Publisher, spool::Backlogs};

/// One resource group of 64 records, so that every cut of it is copies.
fn request() -> Bytes {
    let record = LogRecord { severity_text: "s".repeat(1000), ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record; 64], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
}

/// Runs `check` with the settlement of a request, whose bytes are reserved, and a budget with room for `spare` bytes more.
fn with_settlement(spare: usize, check: impl FnOnce(&mut Settlement<'_>, &Bytes)) {
    let mut settings = Settings::from_yaml("EDGE", "kafka: {brokers: ['127.0.0.1:1']}", []);
    let config = Config::read(&mut settings.root());
    settings.finish().unwrap();
    let request = request();
    let budget = MemoryBudget::new(request.len() + spare);
    let metrics = Runtime::detached().register_metrics(|registry| Metrics::register(registry, &budget));
    // The publisher's tasks are not needed here, and end with this.
    let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = executor.enter();
    let publisher =
        Publisher::start(&config.publisher, Backlogs::none(), &budget, &metrics, &Runtime::detached())
            .unwrap();
    let mut reservation = budget.reservation();
    reservation.grow(request.len()).unwrap();
    let shared = &publisher.shared;
    let route = &shared.routes[Signal::Logs as usize];
    check(&mut Settlement::new(shared, route, 0, reservation), &request);
    assert_eq!(budget.used(), 0);
}

fn waiting_bytes(settlement: &Settlement<'_>) -> usize {
    settlement.waiting.iter().map(|waiting| waiting.record.value.len()).sum()
}

#[test]
fn a_cut_whose_copies_have_no_room_is_refused() {
    let spare = request().len() - 1;
    with_settlement(spare, |settlement, request| {
        let refused = settlement.cut(request, Grouping::Whole, 10_000);
        assert_eq!(refused, Err(Unpublished::Memory));
        assert_eq!(settlement.reservation.bytes(), request.len());
        assert!(settlement.cut(request, Grouping::Whole, request.len()).is_ok(), "nothing is copied");
    });
}

#[test]
fn the_smaller_parts_of_a_copy_are_counted_in_its_place() {
    let len = request().len();
    with_settlement(3 * len, |settlement, request| {
        let cut = settlement.cut(request, Grouping::Whole, len / 2).unwrap();
        settlement.take(cut, request, false);
        assert!(settlement.waiting.len() > 1);
        assert_eq!(settlement.reservation.bytes(), len + waiting_bytes(settlement));
        for _ in 0..settlement.waiting.len() {
            let whole = settlement.waiting.pop_front().unwrap();
            settlement.smaller(whole, &SendError::QueueFull).unwrap();
        }
        assert!(settlement.waiting.len() > 3);
        assert_eq!(settlement.reservation.bytes(), len + waiting_bytes(settlement));
    });
}

#[test]
fn a_record_is_not_cut_smaller_without_room_for_its_parts() {
    let len = request().len();
    with_settlement(len + len / 4, |settlement, request| {
        let cut = settlement.cut(request, Grouping::Whole, len / 2).unwrap();
        settlement.take(cut, request, false);
        let whole = settlement.waiting.pop_front().unwrap();
        assert_eq!(settlement.smaller(whole, &SendError::QueueFull), Err(Unpublished::Memory));
    });
}
