//! telemetry-wire against prost, the reading everyone else uses: same acceptance, same values, nothing lost in a cut.

mod envelope;
mod golden;
mod inspect;
mod merge_law;
mod metrics;
mod oracle;
mod read;
mod seeds;
mod split;
mod wire_gen;
