//! Boards without Grafana: the preview of `boards/`, served beside a demo that is kept.

use std::path::Path;

use anyhow::{Context, Result};
use devstack::Endpoints;
use e2e::Line;
use e2e::process::{Program, free_port};

use crate::business::boards_folder;

/// The served preview.
#[derive(Debug)]
pub(crate) struct Boards {
    pub(crate) url: String,
    _server: Program,
}

impl Boards {
    /// Serves the boards. `None` when npm's packages are not there: whoever has no Node.js still has the demo.
    ///
    /// # Errors
    /// The server does not come up; its last lines are in the error.
    pub(crate) async fn serve(line: &Line, endpoints: &Endpoints, directory: &Path) -> Result<Option<Self>> {
        let folder = boards_folder();
        let loader = folder.join("node_modules/tsx/dist/loader.mjs");
        let Some(node) = find("node").filter(|_| loader.exists()) else { return Ok(None) };
        let (port, tenant) = (free_port()?, line.clickhouse().database().to_owned());
        let url = format!("http://127.0.0.1:{port}");
        let (loader, script) =
            (loader.display().to_string(), folder.join("preview/serve.ts").display().to_string());
        let args = ["--import", &loader, &script, "--port", &port.to_string()];
        let env = [
            ("CLICKHOUSE_URL", endpoints.clickhouse_url.as_str()),
            ("CLICKHOUSE_DATABASE", tenant.as_str()),
            ("MIMIR_URL", endpoints.mimir_url.as_str()),
            ("MIMIR_TENANT", tenant.as_str()),
        ];
        let log = directory.join("boards.log");
        let mut server = Program::start_path(&[], "boards", &node, &args, &env, &log)?;
        server.wait_until_ready(&format!("{url}/healthz")).await.context("serve the boards")?;
        Ok(Some(Self { url, _server: server }))
    }
}

fn find(program: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
