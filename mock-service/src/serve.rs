//! `mock-service serve`: bind, log the start, serve, drain, log the end.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::api::{self, Api};
use crate::cli::{Listen, ServeArgs};
use crate::database::RestaurantDatabase;
use crate::log_line::{Level, LogLine};
use crate::server;
use crate::telemetry::{Signal, Telemetry};

/// Longest time a handler may take; the original's write timeout.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the service until SIGTERM or SIGINT.
///
/// With tracing on, the last line on stderr is the export report as JSON. stdout holds the log contract only.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let runtime = crate::runtime()?;
    let telemetry = Telemetry::from_env("menu-api", &[Signal::Traces], runtime.handle())?;
    let api = Api {
        database: RestaurantDatabase::new(
            args.failure_rate,
            args.database_latency,
            args.seed.unwrap_or_else(rand::random),
        ),
        tracing: telemetry.tracing(),
        request_timeout: REQUEST_TIMEOUT,
    };
    let served = runtime.block_on(serve(args.address(), api));
    // Here, not inside: flushing blocks this thread while the exporters use the runtime.
    if let Some(report) = telemetry.finish() {
        crate::complain(&serde_json::to_string(&report).context("encode the export report")?);
    }
    served
}

async fn serve(listen: Listen, api: Api) -> anyhow::Result<ExitCode> {
    let stop = crate::termination()?;
    let (listener, bound) = bind(listen).await.context("server failed to start")?;
    LogLine::lifecycle(Level::Info, &format!("Starting server on {}", listen.display(bound))).print();
    let drained = server::serve(listener, api::router(api), stop, || {
        LogLine::lifecycle(Level::Info, "Shutting down server...").print();
    })
    .await;
    match drained {
        Ok(()) => {
            LogLine::lifecycle(Level::Info, "Server exited gracefully").print();
            Ok(ExitCode::SUCCESS)
        }
        Err(timeout) => {
            let error = timeout.to_string();
            let forced = LogLine::lifecycle(Level::Error, "Server forced to shutdown");
            LogLine { error: Some(&error), ..forced }.print();
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn bind(listen: Listen) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let candidates = listen.candidates();
    let listener = TcpListener::bind(candidates.as_slice())
        .await
        .with_context(|| format!("listen on {candidates:?}"))?;
    let bound = listener.local_addr().context("read the bound address")?;
    Ok((listener, bound))
}
