//! The restaurant database the service pretends to ask: the one place where time passes and calls fail.
//!
//! Only the list call fails, as in the original; a lookup by id always gets its answer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::menu::{MENU, MenuItem};

#[derive(Debug)]
pub(crate) struct RestaurantDatabase {
    failure_rate: f64,
    latency: Duration,
    draws: Mutex<StdRng>,
}

/// The restaurant did not answer. The text is the contract's `error` field.
#[derive(Debug, thiserror::Error)]
#[error("restaurant service timeout")]
pub(crate) struct RestaurantTimeout;

impl RestaurantDatabase {
    /// `failure_rate` is the share of list calls that fail, 0 to 1. The same `seed` gives the same sequence of
    /// failures, in the order in which the calls are made.
    pub(crate) fn new(failure_rate: f64, latency: Duration, seed: u64) -> Self {
        Self { failure_rate, latency, draws: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    pub(crate) async fn list(&self) -> Result<&'static [MenuItem], RestaurantTimeout> {
        self.wait().await;
        if self.draws.lock().unwrap_or_else(PoisonError::into_inner).random_bool(self.failure_rate) {
            return Err(RestaurantTimeout);
        }
        Ok(&MENU)
    }

    pub(crate) async fn find(&self, id: &str) -> Option<&'static MenuItem> {
        self.wait().await;
        MENU.iter().find(|item| item.id == id)
    }

    async fn wait(&self) {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
    }
}
