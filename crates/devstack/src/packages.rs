//! The fetched programs of all servers.

use crate::progress::Task;
use crate::{Cache, Part, Progress, Result, clickhouse, kafka, mimir};

/// Fetches or builds what `parts` need, side by side, unless it is in the cache already.
///
/// # Errors
/// The first part's that failed; the others are finished all the same.
pub fn fetch(parts: &[Part], cache: &Cache, progress: &Progress) -> Result<()> {
    for_each(parts, progress, |part, task| {
        match part {
            Part::Kafka => {
                let package = kafka::Package::fetch(cache, task)?;
                package.archive(cache, task)?;
            }
            Part::Clickhouse => drop(clickhouse::Package::fetch(cache, task)?),
            Part::Mimir => drop(mimir::Package::fetch(cache, task)?),
        }
        Ok("fetched")
    })
}

/// Verifies the checksums of what is in the cache again, after fetching what is not.
///
/// Mimir has none of its own: `go.sum` pins what it is built from.
pub fn verify(parts: &[Part], cache: &Cache, progress: &Progress) -> Result<()> {
    for_each(parts, progress, |part, task| {
        match part {
            Part::Kafka => kafka::Package::fetch(cache, task)?.verify()?,
            Part::Clickhouse => clickhouse::Package::fetch(cache, task)?.verify()?,
            Part::Mimir => drop(mimir::Package::fetch(cache, task)?),
        }
        Ok("verified")
    })
}

/// Runs `work` for every part at once; `work` gives the word that closes the part's line.
fn for_each(
    parts: &[Part],
    progress: &Progress,
    work: impl Fn(Part, &Task) -> Result<&'static str> + Sync,
) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> = parts
            .iter()
            .map(|part| {
                scope.spawn(move || {
                    let task = progress.task(part.as_str());
                    let outcome = work(*part, &task);
                    task.done(outcome.as_ref().unwrap_or(&"failed"));
                    outcome
                })
            })
            .collect();
        let outcomes: Vec<_> = started.into_iter().map(|thread| thread.join()).collect();
        for outcome in outcomes {
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })
}
