//! The command line: what can be asked of the program, with its defaults.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::load::{Mix, Scene};
pub use crate::orders::args::{CanaryArgs, OrdersArgs};

/// The Menu API of a food delivery platform, and its traffic generator.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `serve`, accepted without naming it.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer the Menu API (default)
    Serve(ServeArgs),
    /// Send traffic to a Menu API and report what came back
    Load(LoadArgs),
    /// Play the way of orders from the gateway to the restaurant's tablet, with faults that lose them
    Orders(OrdersArgs),
    /// Place synthetic orders in `orders` and tell whether they reach the tablet
    OrdersCanary(CanaryArgs),
}

/// Options of `serve`.
///
/// The defaults are the Go original's behaviour. Known differences from it: JSON keys come in the documented order
/// (Go sorts them), the list in id order (Go's map order is random), timestamps in UTC (Go: local zone), and the
/// redirect of a path with `//`, `/./` or `/../` has no HTML body.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to listen: `:8080`, `127.0.0.1:8080`, `[::1]:8080`; port 0 picks a free one
    #[arg(long, env = "LISTEN", conflicts_with = "port")]
    pub listen: Option<Listen>,
    /// Listen on this port of every interface [default: 8080]
    #[arg(long, env = "PORT", hide = true)]
    pub port: Option<u16>,
    /// Share of list calls that fail, 0 to 1
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    pub failure_rate: f64,
    /// Seed of the failures, for a repeatable sequence [default: random]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Time each database call takes, as in `5ms` (the original answers at once)
    #[arg(long, default_value = "0s", value_parser = latency)]
    pub database_latency: Duration,
}

impl ServeArgs {
    /// The address to bind.
    pub fn address(&self) -> Listen {
        const DEFAULT_PORT: u16 = 8080;
        self.listen.unwrap_or(Listen::EveryInterface { port: self.port.unwrap_or(DEFAULT_PORT) })
    }
}

/// Options of `load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Base address of the Menu API
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub target: reqwest::Url,
    /// Requests per second, also as `50/s`; sent on schedule whatever the answers take
    #[arg(long, default_value = "50/s", value_parser = rate)]
    pub rate: f64,
    /// How long to send: `500ms`, `30s`, `5m`
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub duration: Duration,
    /// Seed of the sequence of requests [default: random, printed in the report]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Weights of the routes: list, item, unknown (no such id), empty (no id), health, missing (no such route)
    #[arg(long, default_value_t)]
    pub mix: Mix,
    /// A named mix, instead of `--mix`: the traffic that dashboards and alerts are tested with. Failures are the server's: start
    /// it with the `--failure-rate` that the scene names
    #[arg(long, conflicts_with = "mix")]
    pub scene: Option<Scene>,
    /// Time to wait for one answer
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
    /// Requests that may be unanswered at once; past it a due request is skipped and counted
    #[arg(long, default_value = "512")]
    pub max_in_flight: NonZeroUsize,
    /// Report as JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

impl LoadArgs {
    /// What is sent: the scene's mix, else the one that was given.
    pub(crate) fn mix(&self) -> Mix {
        self.scene.map_or_else(|| self.mix.clone(), Scene::mix)
    }
}

/// Where `serve` listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// `:PORT`, as Go writes it: IPv6 and IPv4 together where the host has both.
    EveryInterface {
        /// The TCP port; 0 picks a free one.
        port: u16,
    },
    /// One address.
    Address(SocketAddr),
}

impl Listen {
    /// The addresses to try, best first.
    pub fn candidates(&self) -> Vec<SocketAddr> {
        match *self {
            Listen::EveryInterface { port } => {
                vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]
            }
            Listen::Address(address) => vec![address],
        }
    }

    /// How the start line of the log names the address that was bound.
    pub fn display(&self, bound: SocketAddr) -> String {
        match self {
            Listen::EveryInterface { .. } => format!(":{}", bound.port()),
            Listen::Address(_) => bound.to_string(),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(port) = text.strip_prefix(':') {
            let port = port.parse().map_err(|_| format!("`{port}` is not a port; try `:8080`"))?;
            return Ok(Listen::EveryInterface { port });
        }
        text.parse().map(Listen::Address).map_err(|_| "expected `:PORT` or `IP:PORT`".to_owned())
    }
}

pub(crate) fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "expected 0 to 1".to_owned())
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    const RATES: RangeInclusive<f64> = 0.001..=100_000.0;
    text.strip_suffix("/s").unwrap_or(text).parse().ok().filter(|rate| RATES.contains(rate)).ok_or_else(
        || format!("expected {} to {} requests per second, as in `50/s`", RATES.start(), RATES.end()),
    )
}

pub(crate) fn latency(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a time such as `0s`, `5ms` or `1s`".to_owned())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| "expected a time such as `500ms`, `30s` or `5m`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_what_runs_when_no_command_is_named() {
        let cli = Cli::try_parse_from(["mock-service", "--listen", ":9000"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.address(), Listen::EveryInterface { port: 9000 });
    }

    #[test]
    fn a_scene_is_a_mix_and_stands_beside_no_other() {
        let load = |args: &[&str]| Cli::try_parse_from([&["mock-service", "load"], args].concat());
        let mix = |args: &[&str]| match load(args).unwrap().command {
            Some(Command::Load(args)) => args.mix(),
            _ => unreachable!("it was named"),
        };
        assert_eq!(mix(&["--scene", "normal"]), mix(&[]));
        assert_ne!(mix(&["--scene", "hostile-ids"]), mix(&[]));
        let refused = load(&["--scene", "normal", "--mix", "list=1"]).unwrap_err();
        assert_eq!(refused.kind(), clap::error::ErrorKind::ArgumentConflict);
        assert!(load(&["--scene", "quiet"]).is_err());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (option, value) in [
            ("--failure-rate", "1.1"),
            ("--failure-rate", "NaN"),
            ("--listen", "8080"),
            ("--listen", ":70000"),
        ] {
            assert!(
                Cli::try_parse_from(["mock-service", "serve", option, value]).is_err(),
                "{option} {value}"
            );
        }
        for (option, value) in
            [("--rate", "0/s"), ("--rate", "inf"), ("--duration", "30"), ("--mix", "list=0")]
        {
            assert!(
                Cli::try_parse_from(["mock-service", "load", option, value]).is_err(),
                "{option} {value}"
            );
        }
    }
}
