//! The command lines of `orders` and `orders-canary`.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::fault::Fault;
use super::service::Role;
use crate::cli::{Listen, duration, latency, rate, share};

/// Orders are spread over at most so many partitions of a topic.
const MAX_PARTITIONS: u16 = 16;
/// Restaurants of a market; each is a label.
const MAX_RESTAURANTS: u16 = 20;
/// Letters of a market's name.
const MAX_NAME: usize = 16;

/// Options of `orders`.
#[derive(Debug, Args)]
pub struct OrdersArgs {
    /// Where the gateway and `/admin` listen
    #[arg(long, default_value = ":8090")]
    pub listen: Listen,
    /// Markets, each with a topic and restaurants of its own
    #[arg(long, default_value = "at,de,ch", value_delimiter = ',')]
    pub markets: Vec<MarketName>,
    /// Restaurants of each market, 1 to 20
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_RESTAURANTS)))]
    pub restaurants: u16,
    /// Partitions of each market's topic, 1 to 16
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_PARTITIONS)))]
    pub partitions: u16,
    /// Orders per second in each market, also as `20/s`
    #[arg(long, default_value = "20/s", value_parser = rate)]
    pub rate: f64,
    /// How long to go on: `30s`, `5m` [default: until SIGTERM]
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Seed of the orders and of which of them a fault hits [default: random]
    #[arg(long)]
    pub seed: Option<u64>,
    /// A fault to play; `POST /admin/fault` switches faults while the program runs
    #[arg(long)]
    pub fault: Option<Fault>,
    /// Share of the orders that the fault hits, 0 to 1
    #[arg(long, default_value_t = 1.0, value_parser = share, requires = "fault")]
    pub fault_share: f64,
    /// The market that the fault hits [default: all]
    #[arg(long, requires = "fault")]
    pub fault_market: Option<MarketName>,
    /// When the fault begins, counted from the start
    #[arg(long, default_value = "0s", value_parser = latency, requires = "fault")]
    pub fault_at: Duration,
    /// How long the fault lasts [default: to the end]
    #[arg(long, value_parser = duration, requires = "fault")]
    pub fault_for: Option<Duration>,
    /// What else happens to orders and to what is told of them
    #[command(flatten)]
    pub oddities: Oddities,
}

/// What happens in a healthy flow, and what telemetry is like.
#[derive(Debug, Clone, Args)]
pub struct Oddities {
    /// Share of the orders that their customers cancel before the restaurant has them
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    pub cancelled_share: f64,
    /// Share that is refunded before the restaurant has them
    #[arg(long, default_value_t = 0.005, value_parser = share)]
    pub refunded_share: f64,
    /// Share that the restaurant rejects
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    pub rejected_share: f64,
    /// Share that is ordered for later
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    pub scheduled_share: f64,
    /// How much later
    #[arg(long, default_value = "1d", value_parser = duration)]
    pub scheduled_ahead: Duration,
    /// Share of the events that are told late, and so out of order
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    pub late_share: f64,
    /// How late
    #[arg(long, default_value = "20s", value_parser = latency)]
    pub late_by: Duration,
    /// Share of the events that are told twice
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    pub duplicated_share: f64,
    /// A service whose clock is wrong, as in `restaurant-service=60s` or `order-service=-60s`
    #[arg(long = "skew", value_name = "SERVICE=TIME")]
    pub skews: Vec<Skew>,
}

/// Options of `orders-canary`.
#[derive(Debug, Args)]
pub struct CanaryArgs {
    /// Base address of the gateway
    #[arg(long, default_value = "http://127.0.0.1:8090")]
    pub target: reqwest::Url,
    /// Markets to place orders in
    #[arg(long, default_value = "at,de,ch", value_delimiter = ',')]
    pub markets: Vec<MarketName>,
    /// Time between two orders in a market
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub every: Duration,
    /// Time in which the tablet must acknowledge
    #[arg(long, default_value = "2m", value_parser = duration)]
    pub confirm_within: Duration,
    /// Time to wait for one answer of the gateway
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
}

/// A market: a short word that can be a part of a topic's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarketName(pub(crate) String);

impl FromStr for MarketName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(is_plain) {
            return Err(format!(
                "`{text}` is no market; use up to {MAX_NAME} lower-case letters, digits and `-`, as in `at`"
            ));
        }
        Ok(MarketName(text.to_owned()))
    }
}

/// How wrong the clock of a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    pub(crate) role: Role,
    pub(crate) by: Duration,
    pub(crate) is_behind: bool,
}

impl FromStr for Skew {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((service, time)) = text.split_once('=') else {
            return Err(format!("`{text}` is no skew; write SERVICE=TIME, as in `restaurant-service=60s`"));
        };
        let role = Role::ALL.into_iter().find(|role| role.as_str() == service).ok_or_else(|| {
            let known = Role::ALL.map(Role::as_str).join(", ");
            format!("there is no service `{service}`; known are {known}")
        })?;
        let by = latency(time.trim_start_matches('-'))?;
        Ok(Skew { role, by, is_behind: time.starts_with('-') })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_market_and_no_skew_is_refused_by_name() {
        for text in ["", "AT", "a t", "a.b", &"a".repeat(17)] {
            let refused = text.parse::<MarketName>().unwrap_err();
            assert!(refused.contains(&format!("`{text}` is no market")), "{refused}");
        }
        assert_eq!("at-2".parse(), Ok(MarketName("at-2".into())));
        for (text, words) in [
            ("restaurant-service", "is no skew"),
            ("kitchen=60s", "there is no service `kitchen`"),
            ("gateway=soon", "expected a time"),
        ] {
            let refused = text.parse::<Skew>().unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
        let skew = Skew { role: Role::OrderService, by: Duration::from_secs(60), is_behind: true };
        assert_eq!("order-service=-60s".parse(), Ok(skew));
    }
}
