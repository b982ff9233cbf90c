//! A lock in a database that has none.
//!
//! Making a table fails when it exists, and of several who try at once exactly one succeeds; on a cluster the same holds through
//! the DDL queue. So the lock is a table: who made it holds it, its comment names the holder, and dropping it releases it.
//!
//! A holder that died leaves the table behind. When it is older than [`Patience::stale_after`] it may be broken: it is first renamed to a
//! name of the breaker's own, which again only one can do, and its comment is looked at once more. Had another breaker been
//! faster, what was renamed is that one's fresh lock, and goes back. A holder checks before every step that the lock is still
//! its own.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::DDL_TIMEOUT;
use crate::clickhouse::client::{Client, QueryError, quoted};

/// Longer than any step takes, a cluster's DDL timeout of three minutes included.
const STALE_AFTER: Duration = Duration::from_secs(15 * 60);
/// Two minutes are enough for another program to make the tables of an empty server.
const WAIT: Duration = Duration::from_secs(120);
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The table that migrations lock.
pub const SCHEMA: &str = "schema_migrations_lock";
/// The table that replays lock.
pub const REPLAYS: &str = "replay_lock";
const TABLE_ALREADY_EXISTS: i32 = 57;
const UNKNOWN_TABLE: i32 = 60;

/// How long a lock of somebody else is respected.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A lock of this age has no living holder any more and is broken.
    pub stale_after: Duration,
    /// How long to wait for a younger one.
    pub wait: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { stale_after: STALE_AFTER, wait: WAIT }
    }
}

/// The lock, held.
#[derive(Debug)]
pub struct Lock<'c> {
    client: &'c Client,
    database: &'c str,
    on_cluster: &'c str,
    table: &'static str,
    owner: String,
}

/// The lock cannot be had, or is ours no longer.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another program has held it all the time we waited.
    #[error("`{owner}` has held it for {} s; when that program is gone, drop the table {database}.{table}", age.as_secs())]
    Held {
        /// Host, process and a number of the holder.
        owner: String,
        /// Since when.
        age: Duration,
        /// The database.
        database: String,
        /// The lock.
        table: &'static str,
    },
    /// Somebody took us for dead.
    #[error("it was taken from us")]
    Lost,
    /// The server did not do as told.
    #[error("cannot work with the table of the lock")]
    Query(#[source] QueryError),
}

#[derive(Debug)]
struct Holder {
    owner: String,
    age: Duration,
}

impl<'c> Lock<'c> {
    /// Waits for the lock that is the table `table`. `on_cluster` is empty or an `ON CLUSTER` clause.
    ///
    /// # Errors
    /// When somebody else keeps it, or the server cannot be asked.
    pub async fn acquire(
        client: &'c Client,
        database: &'c str,
        on_cluster: &'c str,
        table: &'static str,
        patience: Patience,
    ) -> Result<Lock<'c>, LockError> {
        let lock = Lock { client, database, on_cluster, table, owner: owner_name() };
        let deadline = Instant::now() + patience.wait;
        loop {
            if lock.try_take().await? {
                return Ok(lock);
            }
            let Some(holder) = lock.holder(table).await? else { continue };
            if holder.age >= patience.stale_after {
                lock.break_stale(&holder).await?;
                continue;
            }
            if Instant::now() >= deadline {
                let Holder { owner, age } = holder;
                return Err(LockError::Held { owner, age, database: database.to_owned(), table });
            }
            sleep(RETRY_AFTER).await;
        }
    }

    /// Makes sure that nobody has broken the lock.
    ///
    /// # Errors
    /// When it is not ours any more.
    pub async fn check(&self) -> Result<(), LockError> {
        match self.holder(self.table).await? {
            Some(holder) if holder.owner == self.owner => Ok(()),
            _ => Err(LockError::Lost),
        }
    }

    /// [`Lock::check`], and makes the lock young again, for work that takes longer than a lock may be old.
    ///
    /// # Errors
    /// When it is not ours any more, or the server does not answer.
    pub async fn renew(&self) -> Result<(), LockError> {
        self.check().await?;
        let Lock { on_cluster, owner, .. } = self;
        let sql = format!("ALTER TABLE {} {on_cluster} MODIFY COMMENT '{owner}'", self.qualified(self.table));
        self.client.query(&sql, &[DDL_TIMEOUT]).await.map(drop).map_err(LockError::Query)
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// When it is not ours any more, or the server does not answer; then it becomes stale.
    pub async fn release(self) -> Result<(), LockError> {
        self.check().await?;
        self.drop_table(self.table).await
    }

    async fn try_take(&self) -> Result<bool, LockError> {
        let (table, on_cluster) = (self.qualified(self.table), self.on_cluster);
        let owner = &self.owner;
        let sql = format!("CREATE TABLE {table} {on_cluster} (held UInt8) ENGINE = Memory COMMENT '{owner}'");
        match self.client.query(&sql, &[DDL_TIMEOUT]).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(TABLE_ALREADY_EXISTS) => Ok(false),
            Err(error) => Err(LockError::Query(error)),
        }
    }

    async fn holder(&self, table: &str) -> Result<Option<Holder>, LockError> {
        let sql = "SELECT comment, greatest(0, dateDiff('second', metadata_modification_time, now())) FROM system.tables \
                   WHERE database = {database:String} AND name = {table:String} FORMAT TSV";
        let parameters = [("param_database", self.database), ("param_table", table)];
        let printed = self.client.query(sql, &parameters).await.map_err(LockError::Query)?;
        let holder = printed.lines().next().and_then(|line| {
            let (owner, age) = line.split_once('\t')?;
            Some(Holder { owner: owner.to_owned(), age: Duration::from_secs(age.parse().ok()?) })
        });
        Ok(holder)
    }

    async fn break_stale(&self, stale: &Holder) -> Result<(), LockError> {
        let aside = format!("{}_{:016x}", self.table, nonce());
        if !self.rename(self.table, &aside).await? {
            return Ok(());
        }
        match self.holder(&aside).await? {
            Some(renamed) if renamed.owner == stale.owner => {
                tracing::warn!(owner = stale.owner, age = ?stale.age, lock = self.table, "broke a stale lock");
                self.drop_table(&aside).await
            }
            // It goes back to its holder; if a third has made the table meanwhile, that holder will notice its loss.
            _ => self.rename(&aside, self.table).await.map(drop),
        }
    }

    /// Whether there was such a table to rename, and none of the new name.
    async fn rename(&self, from: &str, to: &str) -> Result<bool, LockError> {
        let sql =
            format!("RENAME TABLE {} TO {} {}", self.qualified(from), self.qualified(to), self.on_cluster);
        match self.client.query(&sql, &[DDL_TIMEOUT]).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.code(), Some(UNKNOWN_TABLE | TABLE_ALREADY_EXISTS)) => Ok(false),
            Err(error) => Err(LockError::Query(error)),
        }
    }

    async fn drop_table(&self, table: &str) -> Result<(), LockError> {
        let sql = format!("DROP TABLE IF EXISTS {} {}", self.qualified(table), self.on_cluster);
        self.client.query(&sql, &[DDL_TIMEOUT]).await.map(drop).map_err(LockError::Query)
    }

    fn qualified(&self, name: &str) -> String {
        format!("{}.{}", quoted(self.database), quoted(name))
    }
}

/// Names this program for people, and no other one.
fn owner_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String =
        host.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-.".contains(*letter)).collect();
    format!("{host} pid {} {:016x}", std::process::id(), nonce())
}

fn nonce() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
