//! temporary
use hub_consumer::{
    decode::{Block, DecodeSettings, LogRows, Rows, Source, SpanRows},
    derive::{Deriving, metrics::DeriveMetrics, rules},
};
use prost::Message;
use std::time::Duration;
use telemetry_wire::{
    Signal,
    fixtures::{Load, START_UNIX_NANO, menu::Menu},
};
fn settings() -> DecodeSettings {
    DecodeSettings {
        topic: "otlp".to_owned(),
        retention: Duration::from_secs(365 * 24 * 3600),
        max_record_bytes: 256 << 20,
    }
}
#[inline(never)]
fn fill<R: Rows>(block: &mut Block<R>, records: &[Vec<u8>]) {
    block.clear();
    for (offset, record) in records.iter().enumerate() {
        block
            .push(
                record,
                Source {
                    partition: 3,
                    offset: offset as i64,
                    timestamp_ms: Some((START_UNIX_NANO / 1_000_000) as i64),
                },
            )
            .unwrap();
    }
}
fn run<R: Rows>(records: &[Vec<u8>], on: bool, signal: Signal, times: usize) {
    let rules = rules::read(rules::SHIPPED).unwrap();
    let deriving = Deriving::new(&rules, DeriveMetrics::default());
    let mut block = Block::<R>::new(settings());
    if on {
        block = block.counted_by(&deriving.program(signal).unwrap());
    }
    for _ in 0..times {
        fill(&mut block, records);
        if on {
            block.take_tally().unwrap().count();
        }
    }
    eprintln!("{}", block.rows());
}
fn main() {
    let mut args = std::env::args().skip(1);
    let (what, on, times) =
        (args.next().unwrap(), args.next().unwrap() == "on", args.next().unwrap().parse().unwrap());
    let mut menu = Menu::new(1);
    match what.as_str() {
        "lines" => run::<LogRows>(
            &(0..50).map(|_| menu.lines(200).encode_to_vec()).collect::<Vec<_>>(),
            on,
            Signal::Logs,
            times,
        ),
        "single" => run::<LogRows>(
            &(0..10000).map(|_| menu.lines(1).encode_to_vec()).collect::<Vec<_>>(),
            on,
            Signal::Logs,
            times,
        ),
        "spans" => run::<SpanRows>(
            &(0..50).map(|_| menu.spans(200).encode_to_vec()).collect::<Vec<_>>(),
            on,
            Signal::Traces,
            times,
        ),
        _ => {
            let mut load = Load::new(1);
            run::<LogRows>(
                &(0..50).map(|_| load.logs().encode_to_vec()).collect::<Vec<_>>(),
                on,
                Signal::Logs,
                times,
            )
        }
    }
}
