//! Generates well-formed OTLP bytes that no encoder would write: fields in any order, singular fields repeated, unknown
//! fields and groups in between, varints padded, repeated scalars packed or not.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use telemetry_wire::{Signal, pb};

/// A well-formed request of any shape.
pub(crate) fn request(signal: Signal) -> impl Strategy<Value = Vec<u8>> {
    (any::<u64>(), 1..6usize).prop_map(move |(seed, width)| {
        let mut writer = Writer { rng: StdRng::seed_from_u64(seed), width };
        writer.message(REQUESTS[signal as usize], 0)
    })
}

/// A request damaged in a few places, or no request at all.
pub(crate) fn damaged(signal: Signal) -> impl Strategy<Value = Vec<u8>> {
    let bytes_changed = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    let changed = (request(signal), bytes_changed).prop_map(|(mut bytes, changes)| {
        for (place, byte) in changes {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        bytes
    });
    let cut = (request(signal), any::<prop::sample::Index>()).prop_map(|(mut bytes, place)| {
        bytes.truncate(place.index(bytes.len() + 1));
        bytes
    });
    let grown =
        (request(signal), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, place, byte)| {
            bytes.insert(place.index(bytes.len() + 1), byte);
            bytes
        });
    prop_oneof![4 => changed, 1 => cut, 1 => grown, 1 => prop::collection::vec(any::<u8>(), 0..64)]
}

#[derive(Clone, Copy)]
enum Kind {
    Varint,
    Fixed64,
    Double,
    Fixed32,
    Text,
    Bytes,
    Id(usize),
    Message(&'static Fields),
    Varints,
    Fixed64s,
}

use Kind::{Bytes, Double, Fixed32, Fixed64, Fixed64s, Id, Message, Text, Varint, Varints};

/// The fields of a message. Written down here a second time, from the .proto files, so that the tables of the crate
/// are not their own judge.
type Fields = &'static [(u32, Kind)];

static REQUESTS: [Fields; 3] =
    [&[(1, Message(&RESOURCE_LOGS))], &[(1, Message(&RESOURCE_SPANS))], &[(1, Message(&RESOURCE_METRICS))]];
static RESOURCE_LOGS: Fields = &[(1, Message(&RESOURCE)), (2, Message(&SCOPE_LOGS)), (3, Text)];
static RESOURCE_SPANS: Fields = &[(1, Message(&RESOURCE)), (2, Message(&SCOPE_SPANS)), (3, Text)];
static RESOURCE_METRICS: Fields = &[(1, Message(&RESOURCE)), (2, Message(&SCOPE_METRICS)), (3, Text)];
static SCOPE_LOGS: Fields = &[(1, Message(&SCOPE)), (2, Message(&LOG)), (3, Text)];
static SCOPE_SPANS: Fields = &[(1, Message(&SCOPE)), (2, Message(&SPAN)), (3, Text)];
static SCOPE_METRICS: Fields = &[(1, Message(&SCOPE)), (2, Message(&METRIC)), (3, Text)];
static RESOURCE: Fields = &[(1, Message(&KV)), (2, Varint), (3, Message(&ENTITY))];
static ENTITY: Fields = &[(1, Text), (2, Text), (3, Text), (4, Text)];
static SCOPE: Fields = &[(1, Text), (2, Text), (3, Message(&KV)), (4, Varint)];
static KV: Fields = &[(1, Text), (2, Message(&ANY)), (3, Varint)];
static ANY: Fields = &[
    (1, Text),
    (2, Varint),
    (3, Varint),
    (4, Double),
    (5, Message(&ARRAY)),
    (6, Message(&LIST)),
    (7, Bytes),
    (8, Varint),
];
static ARRAY: Fields = &[(1, Message(&ANY))];
static LIST: Fields = &[(1, Message(&KV))];
static LOG: Fields = &[
    (1, Fixed64),
    (2, Varint),
    (3, Text),
    (5, Message(&ANY)),
    (6, Message(&KV)),
    (7, Varint),
    (8, Fixed32),
    (9, Id(16)),
    (10, Id(8)),
    (11, Fixed64),
    (12, Text),
];
static SPAN: Fields = &[
    (1, Id(16)),
    (2, Id(8)),
    (3, Text),
    (4, Id(8)),
    (5, Text),
    (6, Varint),
    (7, Fixed64),
    (8, Fixed64),
    (9, Message(&KV)),
    (10, Varint),
    (11, Message(&EVENT)),
    (12, Varint),
    (13, Message(&LINK)),
    (14, Varint),
    (15, Message(&STATUS)),
    (16, Fixed32),
];
static EVENT: Fields = &[(1, Fixed64), (2, Text), (3, Message(&KV)), (4, Varint)];
static LINK: Fields = &[(1, Id(16)), (2, Id(8)), (3, Text), (4, Message(&KV)), (5, Varint), (6, Fixed32)];
static STATUS: Fields = &[(2, Text), (3, Varint)];
static METRIC: Fields = &[
    (1, Text),
    (2, Text),
    (3, Text),
    (5, Message(&GAUGE)),
    (7, Message(&SUM)),
    (9, Message(&HISTOGRAM)),
    (10, Message(&EXPONENTIAL)),
    (11, Message(&SUMMARY)),
    (12, Message(&KV)),
];
static GAUGE: Fields = &[(1, Message(&NUMBER))];
static SUM: Fields = &[(1, Message(&NUMBER)), (2, Varint), (3, Varint)];
static HISTOGRAM: Fields = &[(1, Message(&HISTOGRAM_POINT)), (2, Varint)];
static EXPONENTIAL: Fields = &[(1, Message(&EXPONENTIAL_POINT)), (2, Varint)];
static SUMMARY: Fields = &[(1, Message(&SUMMARY_POINT))];
static NUMBER: Fields = &[
    (2, Fixed64),
    (3, Fixed64),
    (4, Double),
    (5, Message(&EXEMPLAR)),
    (6, Fixed64),
    (7, Message(&KV)),
    (8, Varint),
];
static HISTOGRAM_POINT: Fields = &[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Double),
    (6, Fixed64s),
    (7, Fixed64s),
    (8, Message(&EXEMPLAR)),
    (9, Message(&KV)),
    (10, Varint),
    (11, Double),
    (12, Double),
];
static EXPONENTIAL_POINT: Fields = &[
    (1, Message(&KV)),
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Double),
    (6, Varint),
    (7, Fixed64),
    (8, Message(&BUCKETS)),
    (9, Message(&BUCKETS)),
    (10, Varint),
    (11, Message(&EXEMPLAR)),
    (12, Double),
    (13, Double),
    (14, Double),
];
static BUCKETS: Fields = &[(1, Varint), (2, Varints)];
static SUMMARY_POINT: Fields = &[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Double),
    (6, Message(&QUANTILE)),
    (7, Message(&KV)),
    (8, Varint),
];
static QUANTILE: Fields = &[(1, Double), (2, Double)];
static EXEMPLAR: Fields =
    &[(2, Fixed64), (3, Double), (4, Id(8)), (5, Id(16)), (6, Fixed64), (7, Message(&KV))];

/// Messages deeper than this get scalars only, so that requests stay small.
const DEEPEST: u32 = 12;

struct Writer {
    rng: StdRng,
    width: usize,
}

impl Writer {
    fn message(&mut self, fields: Fields, depth: u32) -> Vec<u8> {
        let mut out = Vec::new();
        // The outer levels branch more, or most requests would hold no item.
        let most = if depth < 3 { self.width + 2 } else { self.width };
        for _ in 0..self.rng.random_range(0..=most) {
            if self.rng.random_bool(0.07) {
                self.unknown(&mut out, depth);
                continue;
            }
            let (number, kind) = fields[self.rng.random_range(0..fields.len())];
            self.field(&mut out, number, kind, depth);
        }
        out
    }

    fn field(&mut self, out: &mut Vec<u8>, number: u32, kind: Kind, depth: u32) {
        match kind {
            Varint => self.varint_field(out, number),
            Fixed64 => pb::put_fixed64_field(out, number, self.rng.random()),
            Double => pb::put_fixed64_field(out, number, self.rng.random_range(-1e9..1e9f64).to_bits()),
            Fixed32 => pb::put_fixed32_field(out, number, self.rng.random()),
            Text => {
                let text = TEXTS[self.rng.random_range(0..TEXTS.len())];
                pb::put_len_field(out, number, text.as_bytes());
            }
            Bytes => self.bytes_field(out, number),
            // Few different ids, so that items share traces.
            Id(length) => {
                let id = vec![self.rng.random_range(0..4u8); length];
                pb::put_len_field(out, number, &id[..self.rng.random_range(0..=1) * length]);
            }
            Message(_) if depth >= DEEPEST => {}
            Message(fields) => {
                let inner = self.message(fields, depth + 1);
                pb::put_len_field(out, number, &inner);
            }
            Varints if self.rng.random() => {
                let mut packed = Vec::new();
                for _ in 0..self.rng.random_range(0..4) {
                    pb::put_varint(&mut packed, self.rng.random());
                }
                pb::put_len_field(out, number, &packed);
            }
            Varints => self.varint_field(out, number),
            Fixed64s if self.rng.random() => {
                let packed = vec![1u8; 8 * self.rng.random_range(0..4usize)];
                pb::put_len_field(out, number, &packed);
            }
            Fixed64s => pb::put_fixed64_field(out, number, self.rng.random()),
        }
    }

    fn varint_field(&mut self, out: &mut Vec<u8>, number: u32) {
        let shift = self.rng.random_range(0..64);
        let value = self.rng.random::<u64>() >> shift;
        pb::put_varint_field(out, number, value);
        // Padding: the last byte is continued by zeros, up to ten bytes in all.
        let room = 10 - pb::varint_len(value);
        if room > 0 && self.rng.random_bool(0.1) {
            if let Some(last) = out.last_mut() {
                *last |= 0x80;
            }
            out.extend(std::iter::repeat_n(0x80, self.rng.random_range(0..room)));
            out.push(0);
        }
    }

    fn bytes_field(&mut self, out: &mut Vec<u8>, number: u32) {
        let length = self.rng.random_range(0..20);
        let bytes: Vec<u8> = (0..length).map(|_| self.rng.random()).collect();
        pb::put_len_field(out, number, &bytes);
    }

    fn unknown(&mut self, out: &mut Vec<u8>, depth: u32) {
        let number = [17, 30, 1000, (1 << 29) - 1][self.rng.random_range(0..4)];
        match self.rng.random_range(0..5) {
            0 => self.varint_field(out, number),
            1 => pb::put_fixed64_field(out, number, self.rng.random()),
            2 => pb::put_fixed32_field(out, number, self.rng.random()),
            3 => self.bytes_field(out, number),
            _ => {
                pb::put_varint(out, u64::from(number) << 3 | 3);
                for _ in 0..self.rng.random_range(0..3) {
                    if depth < DEEPEST {
                        self.unknown(out, depth + 1);
                    }
                }
                pb::put_varint(out, u64::from(number) << 3 | 4);
            }
        }
    }
}

const TEXTS: [&str; 6] =
    ["", "k", "service.name", "menu", "gr\u{fc}n", "a longer text that needs some room in the record"];
