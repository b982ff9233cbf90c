//! `edge-forwarder spool`: looks at a spool's directory, and mends it, without the daemon.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use disk_spool::offline::{self, Listing, SegmentListing, Stored};
use jiff::Timestamp;
use serde_json::{Value, json};
use telemetry_wire::Signal;

use crate::publisher::Record;

/// What to do with a spool's directory.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// List the segments: sizes, records, and what is still to be sent.
    Ls(Place),
    /// Read every frame; fails when one is damaged.
    Verify(Place),
    /// Print a JSON line for each record.
    Dump {
        /// Which spool.
        #[command(flatten)]
        place: Place,
        /// Only what is still to be sent.
        #[arg(long)]
        pending: bool,
        /// With the records' values, in base64.
        #[arg(long)]
        values: bool,
    },
    /// Do what a start does: cut off what was not written to its end, set damage aside, delete what was sent.
    Repair(Place),
}

/// Which spool.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The edge's `spool.directory`.
    #[arg(long, value_name = "PATH")]
    directory: PathBuf,
    /// Only this signal's spool: logs, traces or metrics.
    #[arg(long, value_name = "SIGNAL")]
    signal: Option<String>,
}

impl SpoolCommand {
    /// Does it, and prints what was found.
    ///
    /// # Errors
    /// There is no spool, it cannot be read, `verify` has found damage, or an edge that runs has the directory.
    pub fn run(&self) -> anyhow::Result<()> {
        let out = &mut io::stdout().lock();
        match self {
            SpoolCommand::Ls(place) => place.each(|signal, folder| {
                let listing = offline::list(folder).with_context(|| format!("read {}", folder.display()))?;
                print_listing(out, signal, &listing)
            }),
            SpoolCommand::Verify(place) => verify(out, place),
            SpoolCommand::Dump { place, pending, values } => {
                place.each(|signal, folder| dump(out, signal, folder, *pending, *values))
            }
            SpoolCommand::Repair(place) => place.each(|signal, folder| repair(out, signal, folder)),
        }
    }
}

impl Place {
    /// Calls `work` for the folder of each signal that is there.
    fn each(&self, mut work: impl FnMut(Signal, &Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let Place { directory, signal } = self;
        let is_wanted = |of: &Signal| signal.as_deref().is_none_or(|name| name == of.as_str());
        let wanted: Vec<Signal> = Signal::ALL.into_iter().filter(is_wanted).collect();
        if wanted.is_empty() {
            bail!("there is no signal of that name; give logs, traces or metrics");
        }
        let folder_of = |signal: &Signal| directory.join(signal.as_str());
        let found: Vec<Signal> = wanted.into_iter().filter(|signal| folder_of(signal).is_dir()).collect();
        if found.is_empty() {
            let directory = directory.display();
            bail!(
                "{directory} is no spool: it has no folder logs, traces or metrics; give the edge's spool.directory"
            );
        }
        found.into_iter().try_for_each(|signal| work(signal, &folder_of(&signal)))
    }
}

fn verify(out: &mut impl Write, place: &Place) -> anyhow::Result<()> {
    let mut is_damaged = false;
    place.each(|signal, folder| {
        let listing = offline::verify(folder).with_context(|| format!("read {}", folder.display()))?;
        is_damaged |= listing.lost > 0 || listing.findings.iter().any(disk_spool::Finding::is_loss);
        print_listing(out, signal, &listing)
    })?;
    if is_damaged {
        bail!(
            "records are lost to damage; `edge-forwarder spool repair`, or a start, sets it aside and keeps the rest"
        );
    }
    Ok(())
}

fn print_listing(out: &mut impl Write, signal: Signal, listing: &Listing) -> anyhow::Result<()> {
    let Listing { segments, pending, findings, .. } = listing;
    let bytes: u64 = segments.iter().map(|segment| segment.file_bytes).sum();
    writeln!(
        out,
        "{signal}: {} segments of {}; to send: {} records, {} items, {}",
        segments.len(),
        mebibytes(bytes),
        pending.frames,
        pending.items,
        mebibytes(pending.bytes),
    )?;
    for SegmentListing {
        file,
        file_bytes,
        is_sealed,
        is_verified,
        total,
        pending,
        oldest_ms,
        newest_ms,
        ..
    } in segments
    {
        let state = match (is_sealed, is_verified) {
            (true, true) => "sealed, read",
            (true, false) => "sealed",
            (false, _) => "active",
        };
        writeln!(
            out,
            "  {file}  {:>10}  {state:<12}  {:>8} records, {:>8} to send  {} to {}",
            mebibytes(*file_bytes),
            total.frames,
            pending.frames,
            time(*oldest_ms),
            time(*newest_ms),
        )?;
    }
    print_findings(out, findings)
}

fn print_findings(out: &mut impl Write, findings: &[disk_spool::Finding]) -> anyhow::Result<()> {
    for finding in findings {
        writeln!(out, "  ! {finding}")?;
    }
    Ok(())
}

fn repair(out: &mut impl Write, signal: Signal, folder: &Path) -> anyhow::Result<()> {
    let recovery = offline::repair(folder).with_context(|| format!("repair {}", folder.display()))?;
    let pending = recovery.pending;
    writeln!(out, "{signal}: in order; to send: {} records, {} items", pending.frames, pending.items)?;
    print_findings(out, &recovery.findings)
}

fn dump(
    out: &mut impl Write,
    signal: Signal,
    folder: &Path,
    only_pending: bool,
    with_values: bool,
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    let mut show = |stored: Stored| {
        if only_pending && matches!(stored, Stored::Frame { is_resolved: true, .. }) {
            return ControlFlow::Continue(());
        }
        outcome = writeln!(out, "{}", described(signal, stored, with_values));
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    offline::frames(folder, &mut show).with_context(|| format!("read {}", folder.display()))?;
    outcome.context("print")
}

/// A frame, or damage, as a line of JSON.
fn described(signal: Signal, stored: Stored, with_values: bool) -> Value {
    let (file, offset, sequence, appended_at_ms, is_resolved, payload) = match stored {
        Stored::Frame { file, offset, sequence, appended_at_ms, is_resolved, payload, .. } => {
            (file, offset, sequence, appended_at_ms, is_resolved, payload)
        }
        Stored::Damage { file, offset, bytes } => {
            return json!({"signal": signal.as_str(), "file": file, "offset": offset, "damaged_bytes": bytes});
        }
    };
    let mut line = json!({
        "signal": signal.as_str(),
        "file": file,
        "offset": offset,
        "frame": sequence,
        "appended_at": time(appended_at_ms),
        "state": if is_resolved { "sent" } else { "to send" },
    });
    match Record::from_payload(payload) {
        Ok((record, sent)) => {
            // As text, like the headers in the topic: such numbers do not fit in a double.
            line["incarnation"] = record.id.incarnation.to_string().into();
            line["sequence"] = record.id.sequence.to_string().into();
            line["part"] = record.id.part.into();
            line["items"] = record.items.into();
            line["partition"] = record.partition.into();
            line["sent_not_below_offset"] = sent.map(|sent| sent.floor).into();
            line["dead_letter"] = record.letter.map(|letter| letter.reason).into();
            if let Some(origin) = record.origin {
                line["log_file"] = (*origin.file).into();
                line["log_file_position"] = origin.position.into();
            }
            line["value_bytes"] = record.value.len().into();
            if with_values {
                line["value"] = STANDARD.encode(&record.value).into();
            }
        }
        Err(error) => line["unreadable"] = error.to_string().into(),
    }
    line
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn time(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(|time| Timestamp::from_millisecond(time).ok());
    time.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
}
