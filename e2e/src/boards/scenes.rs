//! The scenes: what happens in each of them, on a line of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use devstack::{Server, Stack};

use super::facts::Facts;
use super::stage::{Stage, StageOptions};
use crate::Line;
use crate::faults::hubs::on;

/// Requests a second.
const RATE: u32 = 60;
/// How long traffic is driven.
const TRAFFIC: Duration = Duration::from_secs(25);
/// From the first request to the broker's end, and how long it stays away.
const CUT_AFTER: Duration = Duration::from_secs(6);
const CUT_FOR: Duration = Duration::from_secs(12);

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Scene {
    /// Nothing: traffic, and no failure.
    Normal,
    /// One menu in ten fails.
    TenPercentFailures,
    /// Every menu fails.
    TotalOutage,
    /// Most views are of the item that cannot be ordered.
    UnavailableItemSpike,
    /// Every third request is for an id that somebody tries.
    HostileIds,
    /// The broker is away for some seconds.
    PipelineCut,
    /// Everything is sent to the stores once more.
    DuplicateReplay,
}

impl Scene {
    /// All of them, the one that others are compared with first.
    pub const ALL: [Self; 7] = [
        Self::Normal,
        Self::TenPercentFailures,
        Self::TotalOutage,
        Self::UnavailableItemSpike,
        Self::HostileIds,
        Self::PipelineCut,
        Self::DuplicateReplay,
    ];

    /// Its name, which is also that of what was measured.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::TenPercentFailures => "ten-percent-failures",
            Self::TotalOutage => "total-outage",
            Self::UnavailableItemSpike => "unavailable-item-spike",
            Self::HostileIds => "hostile-ids",
            Self::PipelineCut => "pipeline-cut",
            Self::DuplicateReplay => "duplicate-replay",
        }
    }

    /// What `mock-service load --scene` sends.
    fn traffic(self) -> &'static str {
        match self {
            Self::PipelineCut | Self::DuplicateReplay => Self::Normal.name(),
            other => other.name(),
        }
    }

    /// What `mock-service serve --failure-rate` is told.
    fn failure_rate(self) -> f64 {
        match self {
            Self::TenPercentFailures => 0.1,
            Self::TotalOutage => 1.0,
            _ => 0.0,
        }
    }
}

/// Plays a scene on servers that nobody else uses, and waits until its stores have everything.
///
/// # Errors
/// A part does not start, traffic cannot be driven, or something is not stored in time.
pub async fn play(stack: &Stack, scene: Scene, directory: &Path) -> Result<(Line, Facts)> {
    let options = StageOptions {
        name: format!("scene_{}", scene.name().replace('-', "_")),
        directory: directory.to_path_buf(),
        failure_rate: scene.failure_rate(),
        before: Duration::ZERO,
        more_items: Vec::new(),
        edge_metrics_url: None,
    };
    let stage = Stage::set(stack.endpoints(), stack, &options).await?;
    match scene {
        Scene::PipelineCut => cut(&stage, stack.kafka()).await?,
        _ => stage.drive(scene.traffic(), RATE, TRAFFIC).await?,
    }
    if scene == Scene::DuplicateReplay {
        replay(&stage.line).await?;
    }
    stage.settle().await
}

/// Traffic during which the broker goes away and comes back.
async fn cut(stage: &Stage, kafka: &Server) -> Result<()> {
    let mut load = stage.traffic(Scene::Normal.name(), RATE, TRAFFIC)?;
    tokio::time::sleep(CUT_AFTER).await;
    on(kafka, Server::stop).await.context("stop the broker")?;
    tokio::time::sleep(CUT_FOR).await;
    on(kafka, Server::start).await.context("start the broker")?;
    let status = load.wait_within(TRAFFIC * 4).await?;
    if !status.success() {
        bail!("the traffic ended with {status}\n{}", load.tail());
    }
    Ok(())
}

/// Has everything that topics hold stored once more.
async fn replay(line: &Line) -> Result<()> {
    let (code, printed) = line.hub_output("replay", &[]).await?;
    if code != Some(0) {
        bail!("hub-consumer replay ended with {code:?}: {printed}");
    }
    Ok(())
}
