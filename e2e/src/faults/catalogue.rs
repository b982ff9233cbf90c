//! Every fault that the edge is tried with. Ids are those of the project's catalogue of reliability; `X` are our own.

use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::arena::Arena;
use super::outcome::Outcome;
use super::rows::{
    broker, connections, crash, disk, exactly_once, hub, intake, poison, replays, segments, stores, tail,
    time,
};

/// One fault.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its id.
    pub id: &'static str,
    /// What is done, in a few words.
    pub fault: &'static str,
    /// What it takes.
    pub needs: Needs,
    /// How often in the ordinary tests; 0 when not there.
    pub light: u32,
    /// How often in the campaign.
    pub heavy: u32,
    run: Run,
}

/// What a row takes beyond the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// Root: mounts, or tracing another process.
    Root,
}

/// What became of a row.
#[derive(Debug)]
pub struct Finished {
    /// The row.
    pub row: Row,
    /// Its outcome, or why it could not be brought to its end.
    pub result: Result<Outcome>,
    /// How long it took.
    pub took: Duration,
}

type Run = for<'a> fn(&'a mut Arena, u32) -> Pin<Box<dyn Future<Output = Result<Outcome>> + 'a>>;

impl std::fmt::Debug for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Row")
            .field("id", &self.id)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

impl Finished {
    /// Whether every promise held that is made.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        let is_held = |outcome: &Outcome| match self.row.limit() {
            None => outcome.is_passed(),
            Some(_) => outcome.is_passed_but_for_doubles(),
        };
        self.result.as_ref().is_ok_and(is_held)
    }
}

/// Rows that show where a promise ends, and why it does: what is doubled there is told, and is no failure.
const LIMITS: &[(&str, &str)] = &[(
    "X09",
    "What a network holds for longer than `spool.settling` and delivers when the next process has read back is there twice. \
     Only a fenced producer id would prevent it, which Kafka ties to transactions; see docs/decisions/0004-ask-the-log.md.",
)];

impl Row {
    /// Why this row may double.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        LIMITS.iter().find(|(id, _)| *id == self.id).map(|(_, why)| *why)
    }

    /// Whether this process may do it.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.needs == Needs::Nothing || rustix::process::geteuid().is_root()
    }

    /// Does it so often, on mended brokers.
    pub async fn run(self, arena: &mut Arena, repeats: u32) -> Finished {
        let start = Instant::now();
        let result = async {
            arena.mend().await.context("mend the brokers before the row")?;
            let outcome = (self.run)(arena, repeats).await;
            arena.mend().await.context("mend the brokers after the row")?;
            outcome
        };
        Finished { row: self, result: result.await, took: start.elapsed() }
    }
}

/// The row of this id.
#[must_use]
pub fn row(id: &str) -> Option<Row> {
    ROWS.iter().find(|row| row.id.eq_ignore_ascii_case(id)).copied()
}

macro_rules! rows {
    ($($id:literal $needs:ident $light:literal $heavy:literal $run:path, $fault:literal;)*) => {
        &[$(Row {
            id: $id,
            fault: $fault,
            needs: Needs::$needs,
            light: $light,
            heavy: $heavy,
            run: |arena, repeats| Box::pin($run(arena, repeats)),
        }),*]
    };
}

/// All of them.
pub const ROWS: &[Row] = rows! {
    "S01" Nothing 50 1000 crash::random_kills, "SIGKILL at random moments under load, while the broker comes and goes";
    "S02" Root 2 40 disk::power_cut, "power cut at random moments (ext4)";
    "S03" Root 0 15 disk::power_cut_at_rename, "power cut between the making of a segment and its directory's fsync";
    "S04" Nothing 1 20 crash::acked_before_checkpoint, "killed after the broker's ack, before the checkpoint";
    "S05" Root 0 10 crash::killed_at_unlink, "killed at the removal of a delivered segment";
    "S07" Nothing 1 5 segments::segment_missing, "the cursor points to a segment that is not there";
    "S09" Nothing 1 25 segments::last_frame_cut, "last frame cut at sampled positions";
    "S10" Nothing 1 25 segments::bit_flipped, "a bit flipped in a middle frame at sampled positions";
    "S15" Root 1 10 disk::fsync_fails, "fsync answers EIO";
    "S17" Root 1 5 disk::disk_full, "the disk is full in the middle of a frame";
    "S18" Root 0 3 disk::volume_filled, "somebody else fills the volume";
    "S21" Root 1 5 disk::read_only, "read-only while running, and at start";
    "S24" Nothing 1 5 segments::second_process, "a second process on the same directory";
    "K01" Nothing 1 6 broker::away_at_start, "no broker at start";
    "K02" Nothing 0 4 broker::away_for_long, "no broker for longer than every timeout (short ones)";
    "K03" Nothing 0 6 broker::one_of_three_killed, "one of three brokers killed under load";
    "K04" Nothing 0 10 broker::leaders_move, "leaders move again and again";
    "K06" Nothing 2 40 broker::acks_lost, "the broker's ack is lost";
    "K08" Nothing 1 3 broker::topic_missing, "a topic that is not there";
    "K10" Nothing 1 8 broker::too_large, "too large for client, topic and broker";
    "K20" Nothing 0 6 broker::timeouts_expire, "delivery timeouts expire in the client's queue";
    "R01" Nothing 3 100 intake::malformed, "truncated and random bytes, wrong signal";
    "R02" Nothing 1 5 intake::bombs, "compression bombs, lying lengths, nested and joined members";
    "R03" Nothing 1 5 intake::over_limit, "plain requests above the limit";
    "R05" Nothing 0 2 connections::slow_loris, "2,000 connections that drip their heads";
    "R07" Nothing 0 2 connections::idle_connections, "5,000 idle connections";
    "R10" Nothing 1 3 intake::huge_items, "10 MB attribute, 100,000 attributes, key of 1 MiB";
    "R12" Nothing 1 5 intake::strange_text, "invalid UTF-8, lone surrogates, NUL";
    "R18" Nothing 0 3 intake::overload, "many times what can be taken (10 s each)";
    "T01" Nothing 1 6 tail::renamed, "log renamed again and again, 10,000 lines/s";
    "T02" Nothing 1 5 tail::rotated_unseen, "rotated twice unseen, the older one compressed, the oldest deleted";
    "T03" Nothing 1 10 tail::copied_and_truncated, "log copied and truncated";
    "T04" Nothing 1 10 tail::inode_reused, "inode reused by a file of the same length";
    "T06" Nothing 1 5 tail::fragments, "lines in fragments, cut by rotations";
    "T09" Nothing 8 200 tail::killed_while_rotating, "SIGKILL at random moments while logs rotate and the broker comes and goes";
    "T14" Nothing 1 3 tail::spool_full, "spool at its quota and no broker: the files wait";
    "T17" Nothing 0 4 tail::clock_jumps, "clock +1 h, -1 h, 1970 while logs are read";
    "T18" Nothing 1 5 tail::strange_files, "a line of 10 MB, loops of links, files that vanish, a file that shrinks";
    "P01" Nothing 2 10 crash::terminated, "SIGTERM under load, broker there and away";
    "N01" Nothing 1 6 broker::cut_off, "edge cut off from the brokers in six ways";
    "C01" Nothing 6 500 exactly_once::killed, "hub killed at random moments, three members: the table has each record once";
    "C02" Nothing 0 70 exactly_once::killed_at_steps, "hub killed at every step that it takes for a block";
    "C03" Nothing 0 100 exactly_once::rebalances, "members come, go and die, faster than the groups come to rest";
    "C04" Nothing 0 8 exactly_once::frozen, "hub frozen past its session, and awake again";
    "C06" Nothing 1 6 poison::poisoned, "poison alone, among good records, and a flood of it";
    "C08" Nothing 0 3 poison::dead_letters_refused, "the dead-letter topic is not there";
    "C10" Nothing 0 3 exactly_once::retention_passes, "retention passes the committed position";
    "D05" Nothing 1 3 poison::alerted, "a flood of poison: the alert on dead letters is delivered, and no other";
    "D01" Nothing 1 10 replays::twice, "rows deleted by hand, the range replayed twice under load";
    "H01" Nothing 0 2 stores::clickhouse_away, "ClickHouse away for 20 s: metrics go on";
    "H02" Nothing 0 8 stores::answers_lost, "ClickHouse's answers come too late or never";
    "H07" Nothing 1 20 poison::row_refused, "the table refuses a row";
    "M01" Nothing 0 3 stores::mimir_killed, "Mimir killed while points flow";
    "N04" Nothing 0 3 hub::hub_cut_off, "hub cut off from the brokers, the edge is not";
    "V01" Nothing 0 4 time::clock_jumps, "clock +1 h, -1 h, 1970, while running";
    "X01" Root 0 60 crash::killed_in_system_calls, "killed on entry to the n-th write, fsync, rename, unlink, open";
    "X02" Nothing 1 20 crash::ack_lost_then_killed, "ack lost, then killed: the edge must find its own records";
    "X03" Nothing 0 6 broker::one_of_three_frozen, "one of three brokers frozen for 5 s";
    "X04" Nothing 0 10 crash::renamed, "as X02, and the edge has another id when it comes back";
    "X05" Nothing 0 4 broker::two_of_three_killed, "two of three brokers killed: too few for an ack";
    "X06" Nothing 0 4 crash::frozen, "the edge frozen for 6 s, broker there and away";
    "X07" Nothing 0 3 intake::overload_without_spool, "as R18, to an edge without a spool";
    "X08" Nothing 0 4 broker::producer_forgotten, "acks lost, then the broker forgets the producer";
    "X09" Nothing 0 5 crash::old_bytes_arrive_late, "a killed edge's last bytes arrive after its successor has read back";
    "X10" Nothing 0 6 crash::killed_below_the_watermark, "killed while a frozen follower keeps what is appended from being read";
    "X11" Nothing 0 6 crash::killed_before_a_frozen_broker, "killed before a frozen broker, which thaws when the edge is back";
    "X13" Nothing 1 20 exactly_once::positions_moved, "positions moved back, what was announced erased";
    "X14" Nothing 0 3 exactly_once::topics_made_anew, "topics deleted and made anew, with the same offsets";
    "X15" Nothing 4 100 stores::clickhouse_killed, "ClickHouse killed while it inserts";
    "X16" Nothing 0 30 stores::both_killed, "hub and ClickHouse killed together";
    "X17" Root 0 30 stores::renames_delayed, "as X15, each rename in ClickHouse delayed by 0.3 s";
    "X18" Nothing 2 50 replays::killed, "replay killed at random moments, gone on with at once";
    "X19" Nothing 0 5 replays::beside_rebalances, "hubs killed again and again beside a replay";
    "X20" Nothing 0 5 replays::two_at_once, "two replays of one range at once";
    "X21" Nothing 0 3 replays::partitions_lost, "partition of a table detached and attached, dropped; replayed after each";
    "X22" Nothing 0 5 replays::without_a_broker, "broker killed in the middle of a replay";
    "X23" Nothing 0 10 replays::poison_redriven, "poison redriven again and again";
    "X12" Nothing 0 3 disk::oldest_dropped, "quota used up, policy drop_oldest: only what is counted as dropped is missing";
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique() {
        let ids: std::collections::BTreeSet<_> = ROWS.iter().map(|row| row.id).collect();
        assert_eq!(ids.len(), ROWS.len());
    }
}
