//! `make drill-incident`: the incident of `INCIDENT.md`, played on real servers. Orders are charged and never reach a restaurant,
//! all that is usually watched stays green, and the shipped rules page.
//!
//! Every fault hits a market of its own, so all are played at once: at total loss where few order, and at 1 % where twenty orders a
//! second come. One more market has no fault, and nothing may page there. A page is what Mimir's Alertmanager has delivered to the
//! webhook; the time counts from the moment at which the fault is switched on to that of the delivery.

mod flow;
mod report;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devstack::Stack;
use jiff::Timestamp;

use self::flow::{Flow, Scene};
use self::report::{Points, seconds_between};
use crate::line::wait_for;
use crate::pages::{ORDER_RULES, Page, Pages, Status};
use crate::{Line, LineOptions};

/// The faults, as `mock-service orders` names them, each with the point behind which its orders are seen no more.
const FAULTS: [(&str, usize); 5] = [
    ("ack-before-store", 4),
    ("publish-to-nowhere", 2),
    ("foreign-reader", 3),
    ("lost-before-broker", 2),
    ("dedup-poisoned", 4),
];
/// Until an order is decided.
const T: Duration = Duration::from_secs(120);
/// Events are on their way for so long, with room to spare.
const ON_ITS_WAY: Duration = Duration::from_secs(30);
/// What must be reached at total loss.
const TOTAL_LIMIT: Duration = Duration::from_secs(240);
/// And at 1 %, at twenty orders a second.
const PERCENT_LIMIT: Duration = Duration::from_secs(360);
/// The longest window of the rules and the time that an alert is held after it.
const CLEAR_LIMIT: Duration = Duration::from_secs(15 * 60);
/// What looks back for half an hour and more, and goes on telling of what is over; all clear does not wait for it.
const LOOKS_BACK: [&str; 1] = ["OrderConfirmationBurnSlow"];
const LOOK: Duration = Duration::from_secs(1);

/// How much is played.
#[derive(Debug, Clone, Copy)]
pub struct IncidentOptions {
    /// Orders a second in each market that loses all of them, and in the calm one.
    pub total_rate: u32,
    /// Orders a second in each market that loses 1 %; none of these when it is 0.
    pub percent_rate: u32,
    /// Time before the faults, after the first orders are decided.
    pub calm: Duration,
    /// Whether to wait until every page is resolved.
    pub until_clear: bool,
}

/// What the drill says, on the terminal and for the page.
#[derive(Debug, Default)]
pub struct Transcript {
    text: String,
}

impl Transcript {
    #[allow(clippy::print_stdout, reason = "a drill speaks to a person at a terminal")]
    fn say(&mut self, line: &str) {
        println!("{line}");
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// All that was said.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Plays the incident. `pages` is the webhook that the stack's Alertmanager posts to.
///
/// # Errors
/// Something cannot be done, a page comes too late or where it must not, or orders part elsewhere than they should.
pub async fn play(
    stack: &Stack,
    pages: &Pages,
    directory: &Path,
    options: IncidentOptions,
    transcript: &mut Transcript,
) -> Result<()> {
    let mut line_options = LineOptions::new("incident", directory);
    line_options.own_metrics = Some(Duration::from_secs(5));
    let line = Line::start(stack.endpoints(), line_options).await?;
    stack.put_mimir_rules("incident", "orders.yaml", ORDER_RULES).context("load the rules")?;
    let flow = Flow::start(&line, directory, options).await?;
    let mut drill = Drill { line, flow, pages, transcript, options };
    drill.calm().await?;
    let onset = drill.begin().await?;
    drill.wait_for_pages(onset).await?;
    drill.show_points(onset).await?;
    drill.show_green(onset).await?;
    drill.judge(onset)?;
    let end = drill.end_faults().await?;
    if options.until_clear {
        drill.wait_until_clear(end).await?;
    }
    drill.check_places()?;
    drill.flow.stop().await
}

struct Drill<'a> {
    line: Line,
    flow: Flow,
    pages: &'a Pages,
    transcript: &'a mut Transcript,
    options: IncidentOptions,
}

impl Drill<'_> {
    fn say(&mut self, line: &str) {
        self.transcript.say(line);
    }

    /// Until orders of every market are decided and found well, and a little longer.
    async fn calm(&mut self) -> Result<()> {
        let IncidentOptions { total_rate, percent_rate, .. } = self.options;
        self.say("## Before\n");
        self.say(&format!(
            "{} markets: the calm one and those that will lose every order have {total_rate} orders a second each, those that will lose 1 % have {percent_rate}.\n",
            self.flow.scenes().len()
        ));
        let markets = self.flow.scenes().len() as f64;
        let mimir = self.line.mimir();
        let deadline = std::time::Instant::now() + T + 4 * ON_ITS_WAY;
        let well = "count(sum by (market) (order_outcome_total{outcome=\"restaurant_acked_in_time\"}) > 0)";
        while mimir.number(well).await? < markets {
            ensure!(std::time::Instant::now() < deadline, "orders are not decided in every market");
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(self.options.calm).await;
        let lost = mimir.number("sum(order_outcome_total{outcome=\"unconfirmed\"})").await?;
        let decided = mimir.number("sum(order_outcome_total)").await?;
        let early = self.pages.delivered();
        ensure!(lost == 0.0, "{lost} orders are unconfirmed before any fault");
        ensure!(early.is_empty(), "there are pages before any fault: {early:#?}");
        self.say(&format!("{decided} orders are decided, none is unconfirmed, and nothing has paged.\n"));
        Ok(())
    }

    /// Switches every fault on.
    async fn begin(&mut self) -> Result<Timestamp> {
        let onset = Timestamp::now();
        for scene in self.flow.scenes() {
            if let Some((fault, share)) = scene.fault {
                self.flow.set_fault(scene, fault, share).await?;
            }
        }
        self.say(&format!("## Onset: {}\n", time(onset)));
        self.say("| s after the onset | market | what the webhook has |");
        self.say("|---|---|---|");
        Ok(onset)
    }

    /// Until every market with a fault has paged, and what follows within the limit of a loss of 1 %.
    async fn wait_for_pages(&mut self, onset: Timestamp) -> Result<()> {
        let mut told = 0;
        loop {
            told = self.tell_pages(onset, told);
            let is_over = Timestamp::now().duration_since(onset).unsigned_abs() > PERCENT_LIMIT;
            let has_all =
                self.flow.scenes().iter().all(|scene| scene.fault.is_none() || self.first(scene).is_some());
            // The points tell where orders go once some are decided that came after the onset.
            let is_decided = Timestamp::now().duration_since(onset).unsigned_abs() > 2 * T + ON_ITS_WAY;
            if is_over || has_all && is_decided {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn tell_pages(&mut self, since: Timestamp, told: usize) -> usize {
        let delivered = self.pages.delivered();
        for page in delivered.iter().skip(told) {
            let market = page.labels.get("market").map_or("all", String::as_str);
            let verb = match page.status {
                Status::Firing => page.labels.get("severity").map_or("page", String::as_str),
                Status::Resolved => "resolved",
            };
            let after = seconds_between(since, page.received_at);
            let line = format!("| {after:.0} | {market} | {verb}: {} |", page.alert);
            self.transcript.say(&line);
        }
        delivered.len()
    }

    /// The first page of a market.
    fn first(&self, scene: &Scene) -> Option<Page> {
        self.pages.delivered().into_iter().find(|page| is_page(page) && market_of(page) == scene.market)
    }

    /// The six points: where the orders of each market part.
    async fn show_points(&mut self, onset: Timestamp) -> Result<()> {
        self.say("\n## Where the orders go: the six points\n");
        self.say("Orders that came after the onset and are decided, by the panel's own query.\n");
        self.say(
            "| market | fault | charged | stored | appended | acked | saved | on the tablet | they part at |",
        );
        self.say("|---|---|---|---|---|---|---|---|---|");
        // Orders that were charged before the onset are decided up to T after it.
        let since = T + ON_ITS_WAY;
        let window = Timestamp::now().duration_since(onset).unsigned_abs().saturating_sub(since);
        let mut wrong = Vec::new();
        for scene in self.flow.scenes().to_vec() {
            let points = Points::read(&self.line.mimir(), &scene.market, window).await?;
            let (name, expected) = match scene.fault {
                Some((fault, share)) => {
                    let point = FAULTS.iter().find(|(known, _)| *known == fault).map(|(_, point)| *point);
                    (format!("{fault}, {} %", share * 100.0), point)
                }
                None => ("none".to_owned(), None),
            };
            self.say(&format!("| {} | {name} | {points} |", scene.market));
            if points.parting() != expected {
                wrong.push(format!("{}: {:?} and not {expected:?}", scene.market, points.parting()));
            }
        }
        ensure!(wrong.is_empty(), "orders part elsewhere: {}", wrong.join("; "));
        Ok(())
    }

    /// What is usually watched, while all this goes on.
    async fn show_green(&mut self, onset: Timestamp) -> Result<()> {
        self.say("\n## What stayed green\n");
        let mimir = self.line.mimir();
        let window = Timestamp::now().duration_since(onset).unsigned_abs().as_secs();
        let errors = format!("sum(increase(gateway_requests_total{{status_code!=\"201\"}}[{window}s]))");
        let answers = format!("sum(increase(gateway_requests_total[{window}s]))");
        let (errors, answers) = (mimir.number(&errors).await?, mimir.number(&answers).await?);
        let pending =
            mimir.number(&format!("max(max_over_time(broker_pending_messages[{window}s]))")).await?;
        let cpu =
            mimir.number(&format!("max(max_over_time(service_cpu_utilization_ratio[{window}s]))")).await?;
        self.say("| what | since the onset |");
        self.say("|---|---|");
        self.say(&format!("| answers of the gateway that are no 201 | {errors:.0} of {answers:.0} |"));
        self.say(&format!("| most messages pending in one topic | {pending:.0} |"));
        self.say(&format!("| busiest service | {:.0} % of its processors |", cpu * 100.0));
        ensure!(errors == 0.0 && answers > 0.0, "the gateway does not stay green");
        // What comes in a second may be on its way while one looks.
        let on_the_way = f64::from(self.options.percent_rate.max(self.options.total_rate).max(5));
        ensure!(pending <= on_the_way, "{pending} messages are pending");
        Ok(())
    }

    /// Ends the faults, waits for what is on its way, and refunds what is lost, as Support would.
    async fn end_faults(&mut self) -> Result<Timestamp> {
        for scene in self.flow.scenes() {
            if let Some((fault, _)) = scene.fault {
                self.flow.set_fault(scene, fault, 0.0).await?;
            }
        }
        let end = Timestamp::now();
        self.say(&format!("\n## The faults end: {}\n", time(end)));
        let age = Duration::from_secs(20);
        tokio::time::sleep(age + LOOK).await;
        let refunded = self.flow.refund(age).await?;
        self.say(&format!("{refunded} orders that were charged and lost are refunded.\n"));
        Ok(end)
    }

    async fn wait_until_clear(&mut self, end: Timestamp) -> Result<()> {
        self.say("| s after the end | market | what the webhook has |");
        self.say("|---|---|---|");
        let before = |page: &Page| page.received_at < end;
        let mut told = self.pages.delivered().iter().filter(|page| before(page)).count();
        let deadline = std::time::Instant::now() + CLEAR_LIMIT;
        loop {
            told = self.tell_pages(end, told);
            let open = open(&self.pages.delivered());
            if open.is_empty() {
                break;
            }
            ensure!(std::time::Instant::now() < deadline, "not resolved within {CLEAR_LIMIT:?}: {open:?}");
            tokio::time::sleep(LOOK).await;
        }
        let after = seconds_between(end, Timestamp::now());
        self.say(&format!(
            "\nAll clear {after:.0} s after the end of the faults; {} looks back for longer.",
            LOOKS_BACK[0]
        ));
        let mimir = self.line.mimir();
        wait_for("no order to be owed", async || {
            let owed = mimir.number("sum(order_conservation_residual)").await?;
            Ok(if owed == 0.0 { Ok(()) } else { Err(format!("{owed} are")) })
        })
        .await
    }

    /// Whether each page came in time, and none where there was no fault.
    fn judge(&mut self, onset: Timestamp) -> Result<()> {
        self.say("\n## First pages\n");
        self.say("| fault | loss | orders/s | first page after, s | by | limit, s |");
        self.say("|---|---|---|---|---|---|");
        let mut late = Vec::new();
        for scene in self.flow.scenes().to_vec() {
            let Some((fault, share)) = scene.fault else { continue };
            let limit = if share < 1.0 { PERCENT_LIMIT } else { TOTAL_LIMIT }.as_secs_f64();
            let first = self.first(&scene);
            let after = first.as_ref().map(|page| seconds_between(onset, page.received_at));
            let shown = after.map_or("none".to_owned(), |after| format!("{after:.0}"));
            let alert = first.map_or(String::new(), |page| page.alert);
            let (share, rate) = (share * 100.0, scene.rate);
            self.say(&format!("| {fault} | {share} % | {rate} | {shown} | {alert} | {limit:.0} |"));
            if after.is_none_or(|after| after > limit) {
                late.push(format!("{fault} at {share} %"));
            }
        }
        ensure!(late.is_empty(), "paged too late or not at all: {}", late.join(", "));
        self.check_places()
    }

    /// Nothing may have paged where there is no fault.
    fn check_places(&self) -> Result<()> {
        let has_fault: BTreeMap<_, _> =
            self.flow.scenes().iter().map(|scene| (scene.market.as_str(), scene.fault.is_some())).collect();
        let pages = self.pages.delivered();
        let wrong: Vec<_> =
            pages.iter().filter(|page| has_fault.get(market_of(page)) != Some(&true)).collect();
        ensure!(wrong.is_empty(), "paged where there is no fault: {wrong:#?}");
        Ok(())
    }
}

fn is_page(page: &Page) -> bool {
    page.status == Status::Firing && page.labels.get("severity").is_some_and(|severity| severity == "page")
}

fn market_of(page: &Page) -> &str {
    page.labels.get("market").map_or("", String::as_str)
}

/// Alerts that were delivered and are not resolved.
fn open(pages: &[Page]) -> Vec<String> {
    let mut open = BTreeMap::new();
    for page in pages {
        open.insert(&page.labels, page);
    }
    let is_open = |page: &&&Page| page.status == Status::Firing && !LOOKS_BACK.contains(&page.alert.as_str());
    open.values().filter(is_open).map(|page| format!("{} in {}", page.alert, market_of(page))).collect()
}

fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
