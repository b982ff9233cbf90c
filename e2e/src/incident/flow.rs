//! The programs of the order flow: simulators, their canaries, and the reconciler.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{FAULTS, IncidentOptions};
use crate::Line;
use crate::process::{Program, free_port};

/// A market and what will happen there.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) market: String,
    /// Orders a second.
    pub(super) rate: u32,
    /// The fault and the share of the orders that it hits.
    pub(super) fault: Option<(&'static str, f64)>,
    /// Of the simulator that has the market.
    gateway: String,
}

/// The running programs.
#[derive(Debug)]
pub(super) struct Flow {
    scenes: Vec<Scene>,
    gateways: Vec<String>,
    /// Canaries and the reconciler before the simulators, as they are stopped.
    programs: Vec<Program>,
    client: reqwest::Client,
}

impl Flow {
    /// Starts everything and waits until the gateways answer.
    pub(super) async fn start(line: &Line, directory: &Path, options: IncidentOptions) -> Result<Self> {
        let mut flow = Self {
            scenes: Vec::new(),
            gateways: Vec::new(),
            programs: Vec::new(),
            client: reqwest::Client::new(),
        };
        let mut simulators = Vec::new();
        for (word, rate, share) in [("all", options.total_rate, 1.0), ("one", options.percent_rate, 0.01)] {
            if rate == 0 {
                continue;
            }
            let port = free_port()?;
            let gateway = format!("http://127.0.0.1:{port}");
            let lost = FAULTS.iter().map(|(fault, _)| (market(word, fault), Some((*fault, share))));
            let calm = (share >= 1.0).then(|| ("calm".to_owned(), None));
            let scenes = lost.chain(calm).map(|(market, fault)| Scene {
                market,
                rate,
                fault,
                gateway: gateway.clone(),
            });
            let scenes: Vec<Scene> = scenes.collect();
            simulators.push(flow.start_simulator(line, directory, word, port, rate, &scenes).await?);
            flow.scenes.extend(scenes);
            flow.gateways.push(gateway);
        }
        flow.programs.push(line.hub_command("reconcile", &[])?);
        flow.programs.append(&mut simulators);
        Ok(flow)
    }

    async fn start_simulator(
        &mut self,
        line: &Line,
        directory: &Path,
        word: &str,
        port: u16,
        rate: u32,
        scenes: &[Scene],
    ) -> Result<Program> {
        let edge = line.edge_http_url();
        let otlp = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", edge.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ];
        let names: Vec<&str> = scenes.iter().map(|scene| scene.market.as_str()).collect();
        let (names, listen, rate) = (names.join(","), format!("127.0.0.1:{port}"), rate.to_string());
        let args = ["orders", "--listen", &listen, "--markets", &names, "--rate", &rate];
        let log = directory.join(format!("orders-{word}.log"));
        let mut simulator = Program::start("mock-service", &args, &otlp, &log)?;
        let gateway = format!("http://127.0.0.1:{port}");
        simulator.wait_until_ready(&format!("{gateway}/health")).await?;
        let args = ["orders-canary", "--target", &gateway, "--markets", &names, "--every", "30s"];
        let log = directory.join(format!("canary-{word}.log"));
        self.programs.push(Program::start("mock-service", &args, &otlp, &log)?);
        Ok(simulator)
    }

    pub(super) fn scenes(&self) -> &[Scene] {
        &self.scenes
    }

    /// Switches a fault of a market.
    pub(super) async fn set_fault(&self, scene: &Scene, fault: &str, share: f64) -> Result<()> {
        let body = json!({ "fault": fault, "share": share, "market": scene.market });
        self.post(&scene.gateway, "/admin/fault", &body).await.map(drop)
    }

    /// Refunds what was charged at least so long ago and is confirmed by nobody.
    pub(super) async fn refund(&self, age: Duration) -> Result<u64> {
        let mut refunded = 0;
        for gateway in &self.gateways {
            let body = json!({ "older_than_seconds": age.as_secs() });
            let answer = self.post(gateway, "/admin/refund", &body).await?;
            refunded += answer["refunded"].as_u64().context("the answer says how many")?;
        }
        Ok(refunded)
    }

    async fn post(&self, gateway: &str, path: &str, body: &Value) -> Result<Value> {
        let answer = self.client.post(format!("{gateway}{path}")).body(body.to_string()).send().await;
        let answer = answer.with_context(|| format!("ask {gateway}{path}"))?;
        let status = answer.status();
        let text = answer.text().await.context("read the answer")?;
        ensure!(status.is_success(), "{path} answers {status}: {text}");
        serde_json::from_str(&text).context("read the answer as JSON")
    }

    /// Stops the programs in order.
    pub(super) async fn stop(mut self) -> Result<()> {
        for program in &mut self.programs {
            let status = program.stop().await?;
            ensure!(status.success(), "a program of the flow ended with {status}\n{}", program.tail());
        }
        Ok(())
    }
}

/// Markets are named for what happens there: how much is lost, and the first word of how.
fn market(word: &str, fault: &str) -> String {
    let short = match fault {
        "publish-to-nowhere" => "nowhere",
        other => other.split('-').next().unwrap_or(other),
    };
    format!("{word}-{short}")
}
