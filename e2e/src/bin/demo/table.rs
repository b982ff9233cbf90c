//! The live table: how far the traffic has come, at every station of the line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use e2e::Line;
use e2e::scrape::Page;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use telemetry_wire::Signal;

/// Without a terminal a plain line is printed this often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// The lines on the screen, and where the requests are counted.
#[derive(Debug)]
pub(crate) struct Table {
    client: reqwest::Client,
    menu_log: PathBuf,
    screen: MultiProgress,
    rows: Vec<ProgressBar>,
    last_plain: Option<Duration>,
    last_lines: Vec<String>,
}

impl Table {
    /// `menu_log` holds a line for each request that the Menu API has answered.
    pub(crate) fn new(menu_log: &Path) -> Self {
        let screen = MultiProgress::new();
        let style =
            ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let rows = (0..2 + Signal::ALL.len())
            .map(|_| screen.add(ProgressBar::new_spinner().with_style(style.clone())))
            .collect();
        Self {
            client: reqwest::Client::new(),
            menu_log: menu_log.to_path_buf(),
            screen,
            rows,
            last_plain: None,
            last_lines: Vec::new(),
        }
    }

    /// Asks every station, shows the answers, and returns the lag of all signals in records.
    pub(crate) async fn show(&mut self, line: &Line, elapsed: Duration, is_cut: bool) -> Result<f64> {
        let (lines, lag) = self.lines(line, elapsed, is_cut).await?;
        if self.screen.is_hidden() {
            if self.last_plain.is_none_or(|last| elapsed - last >= PLAIN_EVERY) {
                self.last_plain = Some(elapsed);
                println!("{}\n", lines.join("\n"));
            }
        } else {
            for (row, line) in self.rows.iter().zip(&lines) {
                row.set_message(line.clone());
            }
        }
        self.last_lines = lines;
        Ok(lag)
    }

    /// Leaves the last state on the screen.
    pub(crate) fn finish(&self) {
        if self.screen.is_hidden() {
            println!("{}", self.last_lines.join("\n"));
        }
        for row in &self.rows {
            row.abandon();
        }
        println!();
    }

    async fn lines(&self, line: &Line, elapsed: Duration, is_cut: bool) -> Result<(Vec<String>, f64)> {
        let edge = Page::read(&self.client, &line.edge_admin_url()).await?;
        let hub = Page::read(&self.client, &line.hub_admin_url()).await?;
        let requests = std::fs::read_to_string(&self.menu_log)?
            .lines()
            .filter(|line| line.contains("\"method\":\"GET\""))
            .count();
        let broker = if is_cut { "   the broker is cut off: the edge's disk takes what comes" } else { "" };
        let mut lines = vec![
            format!("{:>3} s   {requests} menu requests answered{broker}", elapsed.as_secs()),
            format!(
                "{:<9}{:>12}{:>12}{:>12}{:>14}{:>9}{:>9}",
                "", "acked", "on disk", "in topic", "stored", "lag", "lag s"
            ),
        ];
        for signal in Signal::ALL {
            let word = signal.as_str();
            let topic = line.topic(signal);
            let stored = match signal {
                Signal::Logs => format!("{} rows", line.clickhouse().count("otel_logs").await?),
                Signal::Traces => format!("{} rows", line.clickhouse().count("otel_traces").await?),
                Signal::Metrics => {
                    format!("{} series", line.mimir().number(r#"count({__name__!=""})"#).await?)
                }
            };
            // Nobody can say what a topic holds while its broker is away.
            let records = if is_cut { "-".to_owned() } else { line.records(&topic).await?.to_string() };
            let published = edge.sum("edge_publisher_acked_items_total", &[("signal", word)]);
            let on_disk = edge.sum("edge_spool_pending_items", &[("signal", word)]);
            lines.push(format!(
                "{word:<9}{:>12}{on_disk:>12}{records:>12}{stored:>14}{:>9}{:>9.1}",
                published + on_disk,
                hub.sum("hub_lag_records", &[("topic", &topic)]),
                hub.max("hub_lag_seconds", &[("topic", &topic)]).unwrap_or(0.0),
            ));
        }
        Ok((lines, hub.sum("hub_lag_records", &[])))
    }
}
