//! A member of a consumer group, as one stream of events.
//!
//! ```text
//!   librdkafka queue ──► poll thread ──► mpsc<ConsumerEvent> ──► owner
//!                          ▲   ▲  │
//!        lookup thread ────┘   │  └── pause/resume by outstanding credit
//!    (committed offsets,       └── commands: commit, seek, shutdown; acknowledgements; released credit
//!     watermarks, probes)
//! ```
//!
//! * **The poll thread owns all state** (assignment, generations, positions, pending commits) and never waits for
//!   the network or for the owner: what does not fit the event channel waits in a backlog that credit bounds.
//! * **Positions are explicit.** librdkafka is told `auto.offset.reset=error` and gets a number for each partition:
//!   the committed offset, or else the end of the log that `initial_offset` names. It can therefore never jump.
//! * **Rebalances are answered late.** The group's revocation is answered only after the owner has acknowledged it
//!   (or `rebalance_timeout` passed). Commits are issued on the poll thread, and librdkafka resolves outstanding
//!   commits before it rejoins, so a commit built under an old generation cannot follow a rejoin.
//!
//! The owner must keep receiving events while its sinks are down: it is credit that holds records back.

mod commits;
mod context;
mod lookup;
mod native_commit;
mod outlet;
mod partitions;
mod poll_loop;
mod rebalance;

pub(crate) use commits::commit_list;

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::timeout,
};
use tracing::warn;

use self::{
    context::{Context, Notices},
    poll_loop::PollLoop,
};
use crate::{
    admin::{self, Watermarks},
    config::ConsumerConfig,
    connection::ConnectionStatus,
    credit::{Marks, TotalAccount},
    doorbell::{Doorbell, doorbell},
    error::{ClientError, CommitError, LookupError},
    event::{CommitOffset, CommittedOffset, ConsumerEvent},
};

/// Event slots between the poll thread and the owner. What the slots hold is bounded by credit, not by this number;
/// it only has to be large enough that the poll thread seldom needs its backlog.
pub const EVENT_CHANNEL_CAPACITY: usize = 1024;

/// Commands that may wait for the poll thread, which takes them every few milliseconds: more commits than this mean an
/// owner that does not wait for their results.
const COMMAND_CHANNEL_CAPACITY: usize = 256;

/// How long leaving waits for the owner's acknowledgement. Less than a rebalance allows, since the process is ending and
/// its grace is short; an owner that has drained needs milliseconds.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a shutdown waits, after that, for the client to close: the last commits, the leave request and a lookup
/// under way. A broker that answers needs milliseconds, and one that is frozen would keep us for minutes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A running member of a consumer group. Dropping it leaves the group in the background; [`Consumer::shutdown`]
/// leaves in order.
pub struct Consumer {
    commands: mpsc::Sender<Command>,
    leaving: Arc<AtomicBool>,
    shared: Shared,
    client: Weak<BaseConsumer<Context>>,
    finished: oneshot::Receiver<()>,
    group_id: String,
}

/// What the owner's side and the poll thread both hold.
#[derive(Clone)]
struct Shared {
    doorbell: Doorbell,
    status: Arc<ConnectionStatus>,
    account: Arc<TotalAccount>,
}

/// What the owner asks of the poll thread.
enum Command {
    Commit { generation: u64, offsets: Vec<CommitOffset>, reply: CommitReply },
    Seek { generation: u64, target: CommitOffset, reply: CommitReply },
}

/// Everything that reaches the poll thread from outside of it.
struct Inbox {
    notices: Notices,
    commands: mpsc::Receiver<Command>,
    leaving: Arc<AtomicBool>,
}

type CommitReply = oneshot::Sender<Result<(), CommitError>>;

impl Consumer {
    /// Longest time that [`Consumer::shutdown`] takes: 5 s for the owner to acknowledge, 3 s for the brokers to answer.
    /// With an owner's drain of 15 s before it, this fits a process's grace of 25 s.
    pub const SHUTDOWN_TIMEOUT: Duration = LEAVE_TIMEOUT.saturating_add(CLOSE_TIMEOUT);

    /// Joins the group in the background; a broker that is down is no error.
    ///
    /// # Errors
    /// The settings contradict each other, or the operating system gave no thread.
    pub fn start(
        config: &ConsumerConfig,
        topics: &[impl AsRef<str>],
    ) -> Result<(Consumer, mpsc::Receiver<ConsumerEvent>), ClientError> {
        let (doorbell, listener) = doorbell();
        let status = ConnectionStatus::new("consumer", doorbell.clone());
        let (context, notices) = Context::new(Arc::clone(&status));
        let mut client = BaseConsumer::from_config_and_context(&config.client_config(), context)
            .map_err(|error| ClientError::Settings(error.into()))?;
        let wake = doorbell.clone();
        client.set_nonempty_callback(move || wake.ring());
        let client = Arc::new(client);
        let topics: Vec<String> = topics.iter().map(|topic| topic.as_ref().to_owned()).collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        client.subscribe(&names).map_err(|error| ClientError::Subscription(error.into()))?;

        let (commands, command_receiver) = mpsc::channel(COMMAND_CHANNEL_CAPACITY);
        let (events, event_receiver) = mpsc::channel(EVENT_CHANNEL_CAPACITY);
        let (finish, finished) = oneshot::channel();
        let marks = Marks::new(config.partition_buffer_bytes, config.buffer_bytes);
        let account = TotalAccount::new(marks, doorbell.clone());
        let shared = Shared { doorbell, status, account };
        let leaving = Arc::new(AtomicBool::new(false));
        let consumer = Consumer {
            commands,
            leaving: Arc::clone(&leaving),
            shared: shared.clone(),
            client: Arc::downgrade(&client),
            finished,
            group_id: config.group_id.clone(),
        };
        let inbox = Inbox { notices, commands: command_receiver, leaving };
        PollLoop::new(config, topics, client, inbox, events, shared)?.spawn(listener, finish)?;
        Ok((consumer, event_receiver))
    }

    /// Commits positions; the future resolves with the group coordinator's answer.
    ///
    /// The commit is queued by this call, not by the first poll of the future, so commits take place in the order of
    /// the calls; one that finds the queue full is refused, not made to wait, since a later one could overtake it. All
    /// partitions of the list are committed in one request.
    ///
    /// # Errors
    /// [`CommitError::is_stale`]: `generation` does not own one of the partitions; nothing may be committed for it.
    /// [`CommitError::QueueFull`]: hundreds of commits are waiting.
    pub fn commit(
        &self,
        generation: u64,
        offsets: Vec<CommitOffset>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        let queued = commits::refuse_malformed(&offsets).and_then(|()| {
            let command = Command::Commit { generation, offsets, reply };
            self.commands.try_send(command).map_err(|unsent| match unsent {
                TrySendError::Full(_) => CommitError::QueueFull,
                TrySendError::Closed(_) => CommitError::Closed,
            })
        });
        self.shared.doorbell.ring();
        async move {
            queued?;
            answer.await.unwrap_or(Err(CommitError::Closed))
        }
    }

    /// Continues a partition at `offset`: an operator's answer to [`ConsumerEvent::OffsetOutOfRange`], or a step back.
    ///
    /// A partition that is out of range is moved by committing the new position (without metadata) and joining the
    /// group anew, so the owner sees its partitions revoked and assigned. Any other goes on at once; its records that
    /// are in the event channel already still come. The seek is queued when the future is first polled, and waits while
    /// the queue is full.
    ///
    /// # Errors
    /// Those of [`Consumer::commit`], except [`CommitError::QueueFull`].
    pub fn seek(
        &self,
        generation: u64,
        topic: &Arc<str>,
        partition: i32,
        offset: i64,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static {
        let target = CommitOffset { topic: Arc::clone(topic), partition, offset, metadata: String::new() };
        let refused = commits::refuse_malformed(std::slice::from_ref(&target));
        let (commands, doorbell) = (self.commands.clone(), self.shared.doorbell.clone());
        async move {
            refused?;
            let (reply, answer) = oneshot::channel();
            let command = Command::Seek { generation, target, reply };
            commands.send(command).await.map_err(|_closed| CommitError::Closed)?;
            doorbell.ring();
            answer.await.unwrap_or(Err(CommitError::Closed))
        }
    }

    /// First and next offset of every partition of a topic, owned or not.
    ///
    /// # Errors
    /// The cluster does not answer within seconds, or the topic does not exist.
    pub fn watermarks(
        &self,
        topic: &str,
    ) -> impl Future<Output = Result<Vec<Watermarks>, LookupError>> + Send + 'static {
        let topic = topic.to_owned();
        self.lookup(move |client| admin::watermarks_of(client, &topic))
    }

    /// The group's committed position of every partition of a topic, owned or not.
    ///
    /// # Errors
    /// The cluster does not answer within seconds, or the topic does not exist.
    pub fn committed(
        &self,
        topic: &str,
    ) -> impl Future<Output = Result<Vec<(i32, Option<CommittedOffset>)>, LookupError>> + Send + 'static {
        let topic = topic.to_owned();
        self.lookup(move |client| admin::committed_of(client, &topic))
    }

    /// Whether a broker answered lately. False at start and while no broker can be reached.
    pub fn is_connected(&self) -> bool {
        self.shared.status.is_connected()
    }

    /// Bytes handed to the owner whose [`Credit`](crate::Credit) lives.
    pub fn outstanding_bytes(&self) -> u64 {
        self.shared.account.outstanding()
    }

    /// Partitions that deliver nothing at present, because of outstanding bytes or a position out of range.
    pub fn paused_partitions(&self) -> usize {
        self.shared.account.paused_partitions()
    }

    /// Starts to give the partitions back and to leave the group. The owner goes on receiving: it gets a last
    /// [`ConsumerEvent::Revoked`], can commit until it acknowledges, and then sees the channel close.
    ///
    /// An owner that has not acknowledged after 5 s, whatever `rebalance_timeout` is, is not waited for any longer: the
    /// partitions are given back without it and the channel closes. So drain before leaving, not after it.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.shared.doorbell.ring();
    }

    /// [`Consumer::leave`], and waits until the group was left and all threads have ended, at most
    /// [`Consumer::SHUTDOWN_TIMEOUT`]. When brokers do not answer, the threads go on to end in the background after that.
    ///
    /// Somebody should receive (or drop) the events meanwhile, or leaving takes all of its time.
    ///
    /// False when the time was up first.
    pub async fn shutdown(mut self) -> bool {
        self.leave();
        // An answer that is an error means that the thread is gone already.
        let has_ended = timeout(Self::SHUTDOWN_TIMEOUT, &mut self.finished).await.is_ok();
        if !has_ended {
            warn!(group = self.group_id, "consumer has not ended in time, no longer waiting for it");
        }
        has_ended
    }

    fn lookup<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&BaseConsumer<Context>) -> Result<T, LookupError> + Send + 'static,
    ) -> impl Future<Output = Result<T, LookupError>> + Send + 'static {
        let client = Weak::clone(&self.client);
        async move {
            let answer = tokio::task::spawn_blocking(move || {
                let client = client.upgrade().ok_or(LookupError::Closed)?;
                ask(&client)
            });
            answer.await.unwrap_or(Err(LookupError::Closed))
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Consumer")
            .field("group_id", &self.group_id)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
