//! A real Grafana in Docker against a demo that is kept: the boards as they are provisioned anywhere.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::steps::Steps;

/// Pinned: the release whose query models and panel options the boards are written for.
const IMAGE: &str = "grafana/grafana:13.2.3";
const PLUGIN: &str = "grafana-clickhouse-datasource 4.11.2";
const PORT: u16 = 3000;

/// Runs Grafana in the foreground until it is interrupted.
pub(crate) fn run(steps: &mut Steps) -> Result<()> {
    let env = demo(steps)?;
    if !has_docker() {
        bail!(
            "no Docker answers here, so Grafana was not run; the boards can be looked at in their preview: {}",
            env.get("BOARDS_URL").map_or("make demo KEEP=1 prints its address", String::as_str)
        );
    }
    let clickhouse = env.get("CLICKHOUSE_URL").context("the demo names no ClickHouse")?;
    let (host, port) = clickhouse
        .trim_start_matches("http://")
        .split_once(':')
        .with_context(|| format!("{clickhouse} has no host and port"))?;
    let root = steps.root().display().to_string();
    let value = |name: &str| env.get(name).cloned().unwrap_or_default();
    let settings = [
        ("MIMIR_URL", value("MIMIR_URL")),
        ("MIMIR_TENANT", value("MIMIR_TENANT")),
        ("CLICKHOUSE_HOST", host.to_owned()),
        ("CLICKHOUSE_PORT", port.to_owned()),
        ("CLICKHOUSE_DATABASE", value("CLICKHOUSE_DATABASE")),
        ("CLICKHOUSE_USER", "default".to_owned()),
        ("CLICKHOUSE_PASSWORD", String::new()),
        ("BOARDS_FOLDER", "/boards".to_owned()),
        ("GF_INSTALL_PLUGINS", PLUGIN.to_owned()),
        ("GF_AUTH_ANONYMOUS_ENABLED", "true".to_owned()),
        ("GF_AUTH_ANONYMOUS_ORG_ROLE", "Admin".to_owned()),
        ("GF_SERVER_HTTP_ADDR", "127.0.0.1".to_owned()),
        ("GF_SERVER_HTTP_PORT", PORT.to_string()),
    ];
    let mut args: Vec<String> = ["run", "--rm", "--network", "host"].map(str::to_owned).to_vec();
    for (name, value) in settings {
        args.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    for (from, to) in
        [("dashboards", "/boards"), ("boards/grafana/provisioning", "/etc/grafana/provisioning")]
    {
        args.extend(["--volume".to_owned(), format!("{root}/{from}:{to}:ro")]);
    }
    args.push(IMAGE.to_owned());
    eprintln!("Grafana will answer at http://127.0.0.1:{PORT}/d/platform-overview; end it with Ctrl-C");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let folder = steps.root().to_path_buf();
    steps.command("Grafana", &folder, "docker", &args)
}

/// The addresses of the demo that is kept.
pub(crate) fn demo(steps: &Steps) -> Result<BTreeMap<String, String>> {
    let file = steps.root().join("target/demo.env");
    let text = std::fs::read_to_string(&file).context("no demo is kept: run `make demo KEEP=1` first")?;
    let assignment = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    Ok(text.lines().filter_map(assignment).collect())
}

fn has_docker() -> bool {
    let mut docker = Command::new("docker");
    docker.arg("info").stdout(Stdio::null()).stderr(Stdio::null());
    docker.status().is_ok_and(|status| status.success())
}
