//! The lag of partitions that nobody owns, which else no member would tell.
//!
//! A member that waits for its sink has not joined, and may be the only one there is: then these are all partitions. Every
//! member tells the same, so over members the maximum counts, as for every series of a partition.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use service_runtime::error_chain::ErrorChain;
use tokio::time::sleep;
use tracing::debug;

use super::meter::{Meter, Scope};
use crate::{config::SignalConfig, metrics::SignalMetrics};

/// Between two looks. What nobody owns in two of them is told: between, a partition may be on its way to its next owner.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Tells the lag of orphaned partitions for as long as it is waited for.
pub async fn tell(config: &SignalConfig, metrics: &SignalMetrics) -> Infallible {
    let mut meter = Meter::new(config, Scope::Orphans);
    let (mut seen, mut told) = (BTreeSet::new(), BTreeSet::new());
    loop {
        match meter.look().await {
            Ok(states) => {
                let orphans: BTreeSet<i32> = states.iter().map(|state| state.partition).collect();
                for state in states.iter().filter(|state| seen.contains(&state.partition)) {
                    metrics.lag(&config.topic, state.partition, &state.into());
                    told.insert(state.partition);
                }
                // If it is ours now, its numbers are back within a second.
                for partition in told.extract_if(.., |partition| !orphans.contains(partition)) {
                    metrics.forget(&config.topic, partition);
                }
                seen = orphans;
            }
            Err(failure) => debug!(error = %ErrorChain(failure.as_ref()), "who owns partitions is not known"),
        }
        sleep(LOOK_INTERVAL).await;
    }
}
