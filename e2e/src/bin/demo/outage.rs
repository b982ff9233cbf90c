//! The broker goes away in the middle of the traffic, and comes back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use devstack::Server;

/// When the broker is taken away, and when it is given back.
#[derive(Debug)]
pub(crate) struct Outage {
    kafka: Server,
    begin: Duration,
    end: Duration,
    /// When it was taken away, in seconds since the epoch.
    began: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    On,
    Over,
}

impl Outage {
    /// An outage of `outage` seconds, a quarter into `traffic` seconds. A user's own broker is left alone.
    pub(crate) fn plan(traffic: u64, outage: u64, kafka: &Server) -> Self {
        let begin = Duration::from_secs(traffic / 4);
        let is_ours = kafka.pid().is_some();
        if outage > 0 && !is_ours {
            println!("the broker is your own, so it is not cut off\n");
        }
        let state = if outage > 0 && is_ours { State::Before } else { State::Over };
        Self { kafka: kafka.clone(), begin, end: begin + Duration::from_secs(outage), began: 0, state }
    }

    /// Whether the broker is away.
    pub(crate) fn is_on(&self) -> bool {
        self.state == State::On
    }

    /// Whether nothing more will happen to the broker.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Does what is due after `elapsed` of traffic. When the outage is over, its begin and end in seconds since the epoch.
    ///
    /// # Errors
    /// The broker does not come back.
    pub(crate) async fn step(&mut self, elapsed: Duration) -> Result<Option<(u64, u64)>> {
        let kafka = self.kafka.clone();
        match self.state {
            State::Before if elapsed >= self.begin => {
                self.began = now();
                blocking(move || kafka.stop()).await.context("stop the broker")?;
                self.state = State::On;
            }
            State::On if elapsed >= self.end => {
                blocking(move || kafka.start()).await.context("start the broker")?;
                self.state = State::Over;
                return Ok(Some((self.began, now())));
            }
            State::Before | State::On | State::Over => {}
        }
        Ok(None)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

async fn blocking(act: impl FnOnce() -> devstack::Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(act).await.context("the broker's thread ends")??;
    Ok(())
}
