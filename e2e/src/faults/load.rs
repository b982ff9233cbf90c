//! Senders that never send a request twice, and remember what they were told.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use telemetry_wire::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::item;
use super::ledger::Ledger;
use crate::sender::{Answer, Sender};

/// How long a sender waits for an answer, longer than any edge should need.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// How a sender speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// OTLP/HTTP with protobuf.
    Http,
    /// OTLP/gRPC.
    Grpc,
}

/// What the senders do.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// One sender for each.
    pub senders: Vec<(Signal, Transport)>,
    /// Most items in a request.
    pub max_items: u32,
    /// Most bytes of filling in an item.
    pub max_padding: u32,
    /// Between an answer and the next request.
    pub pause: Duration,
    /// Decides sizes.
    pub seed: u64,
}

impl LoadOptions {
    /// Three signals over both transports, small requests.
    #[must_use]
    pub fn mixed(seed: u64) -> Self {
        let senders = Signal::ALL
            .into_iter()
            .flat_map(|signal| [(signal, Transport::Http), (signal, Transport::Grpc)])
            .collect();
        Self { senders, max_items: 8, max_padding: 300, pause: Duration::from_millis(15), seed }
    }

    /// One signal from so many senders.
    #[must_use]
    pub fn logs(senders: usize, seed: u64) -> Self {
        Self { senders: vec![(Signal::Logs, Transport::Http); senders], ..Self::mixed(seed) }
    }
}

/// Running senders. They end when it is dropped; [`Load::stop`] waits for their last answers.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    ledger: Arc<Ledger>,
}

impl Load {
    /// Starts the senders; `first_sender` numbers the first of them, and no two loads of a ledger may share a number.
    #[must_use]
    pub fn start(sender: &Sender, ledger: &Arc<Ledger>, first_sender: u32, options: &LoadOptions) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for (number, (signal, transport)) in (first_sender..).zip(options.senders.iter().copied()) {
            let one = One { sender: sender.clone(), ledger: Arc::clone(ledger), number, signal, transport };
            tasks.spawn(one.run(options.clone(), stopped.clone()));
        }
        Self { stop, tasks, ledger: Arc::clone(ledger) }
    }

    /// Waits until so many more items have been acked than now.
    ///
    /// # Errors
    /// They are not within `patience`.
    pub async fn acked(&self, more: u64, patience: Duration) -> Result<()> {
        let goal = self.ledger.counts().acked + more;
        let deadline = tokio::time::Instant::now() + patience;
        while self.ledger.counts().acked < goal {
            if tokio::time::Instant::now() > deadline {
                let (counts, words) = (self.ledger.counts(), self.ledger.words());
                bail!("{more} more items were not acked within {patience:?}: {counts:?}, {words:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends the senders, after each has its last answer.
    ///
    /// # Errors
    /// A sender failed.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a sender failed")?;
        }
        Ok(())
    }
}

struct One {
    sender: Sender,
    ledger: Arc<Ledger>,
    number: u32,
    signal: Signal,
    transport: Transport,
}

impl One {
    async fn run(self, options: LoadOptions, stopped: watch::Receiver<bool>) {
        let mut random = StdRng::seed_from_u64(options.seed ^ u64::from(self.number));
        while !*stopped.borrow() {
            let count = random.random_range(1..=options.max_items.max(1));
            let padding = random.random_range(0..=options.max_padding);
            let answer =
                send(&self.sender, &self.ledger, self.number, self.signal, self.transport, (count, padding))
                    .await;
            let pause = match answer {
                Answer::Acked => options.pause,
                // Without it a port that refuses connections would be asked thousands of times a second.
                _ => options.pause.max(Duration::from_millis(30)),
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// Sends one request and writes both down; `size` is the number of items and the filling of each.
pub async fn send(
    sender: &Sender,
    ledger: &Ledger,
    number: u32,
    signal: Signal,
    transport: Transport,
    size: (u32, u32),
) -> Answer {
    let (place, sent) = ledger.issue(signal, number, size.0, size.1);
    let ids: Vec<_> = sent.ids().collect();
    let body = item::request(signal, &ids);
    let sending = async {
        match transport {
            Transport::Http => sender.send_http(signal, body).await,
            Transport::Grpc => match sender.send_grpc(signal, &body).await {
                Ok(answer) => answer,
                Err(error) => Answer::Unknown(format!("{error:#}")),
            },
        }
    };
    let answer = match tokio::time::timeout(ANSWER_PATIENCE, sending).await {
        Ok(answer) => answer,
        Err(_) => Answer::Unknown(format!("no answer within {ANSWER_PATIENCE:?}")),
    };
    ledger.answer(place, answer.clone());
    answer
}
