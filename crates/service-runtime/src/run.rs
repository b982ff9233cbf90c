//! From arguments to exit code: the same five steps in every binary.
//!
//! 1. Read the configuration; every problem is printed, then exit 64. `--check-config` leaves here.
//! 2. Start the logs; one line tells what is running.
//! 3. Bind the admin port, build the runtime.
//! 4. Run the app until it returns or a signal comes. SIGTERM or SIGINT cancels the token and starts the grace time.
//! 5. Wait for the app and for every guard. Exit 0 when all ended in order, 1 when the app failed, a task panicked or the grace
//!    time passed; what was late is named. A second signal ends the process at once, with 1.

use std::{
    future::pending,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    Runtime, Section, Settings,
    admin::{self, AdminListener, AdminServer},
    config::RuntimeConfig,
    error_chain::ErrorChain,
    settings::Problems,
    telemetry::{End, Telemetry},
};

/// Exit code of a process whose configuration is wrong: `EX_USAGE` of sysexits.
pub const EXIT_BAD_CONFIG: u8 = 64;

/// Blocking work still running when all else has ended gets this long before the process leaves without it.
const BLOCKING_WORK_GRACE: Duration = Duration::from_secs(1);

/// Which program this is.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Name of the program, such as `edge-forwarder`.
    pub name: &'static str,
    /// Prefix of its environment variables, such as `EDGE`.
    pub env_prefix: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// The flags of every long-running program.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RunArgs {
    /// YAML configuration file; without it the defaults and the environment are used.
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Check the configuration, print every problem, and leave.
    #[arg(long)]
    pub check_config: bool,
}

/// Why the app was not seen through to its end.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the grace time passed before all work was done")]
    DeadlinePassed,
    #[error("a second signal came")]
    SecondSignal,
}

/// Runs a long-running program with its admin server.
pub fn run<C>(
    service: &Service,
    args: &RunArgs,
    read: fn(&mut Section<'_>) -> C,
    app: impl AsyncFnOnce(C, Runtime) -> anyhow::Result<()>,
) -> ExitCode {
    launch(service, args, read, app, true)
}

/// Runs a command that does one thing and leaves: the same without an admin server, so it can run beside the long-running program
/// with the same configuration file. Its answer is on standard output; warnings, and the error that it ends with, are text on
/// standard error.
pub fn run_once<C>(
    service: &Service,
    args: &RunArgs,
    read: fn(&mut Section<'_>) -> C,
    app: impl AsyncFnOnce(C, Runtime) -> anyhow::Result<()>,
) -> ExitCode {
    launch(service, args, read, app, false)
}

/// Runs a command that needs no configuration: what went wrong is printed, with its causes, and the exit code is 1 then. A reader
/// of the output that has had enough, as `head` has, is no error.
pub fn command(work: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    let Err(error) = work() else { return ExitCode::SUCCESS };
    let is_closed_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_closed_pipe) {
        return ExitCode::SUCCESS;
    }
    print_error(&error);
    ExitCode::FAILURE
}

fn launch<C>(
    service: &Service,
    args: &RunArgs,
    read: fn(&mut Section<'_>) -> C,
    app: impl AsyncFnOnce(C, Runtime) -> anyhow::Result<()>,
    with_admin: bool,
) -> ExitCode {
    let (config, app_config) = match load(service, args, read) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print_problems(&problems);
            return ExitCode::from(EXIT_BAD_CONFIG);
        }
    };
    if args.check_config {
        print_ok();
        return ExitCode::SUCCESS;
    }
    if with_admin {
        config.log.install();
    } else {
        config.log.for_command().install();
    }
    tracing::info!(service = service.name, version = service.version, commit = admin::commit(), "starting");
    match start_and_run(service, &config, with_admin, async |runtime| app(app_config, runtime).await) {
        Ok(()) => {
            tracing::info!("ended in order");
            ExitCode::SUCCESS
        }
        Err(error) if !with_admin => {
            print_error(&error);
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!(error = %ErrorChain(error.as_ref()), "ended with a failure");
            ExitCode::FAILURE
        }
    }
}

fn load<C>(
    service: &Service,
    args: &RunArgs,
    read: fn(&mut Section<'_>) -> C,
) -> Result<(RuntimeConfig, C), Problems> {
    let mut settings = Settings::load(service.env_prefix, args.config.as_deref());
    let config = RuntimeConfig::read(&mut settings.root());
    let app_config = read(&mut settings.root());
    settings.finish()?;
    Ok((config, app_config))
}

#[allow(clippy::print_stderr, reason = "logs are not set up before the configuration is right")]
fn print_problems(problems: &Problems) {
    eprintln!("{problems}");
}

#[allow(clippy::print_stderr, reason = "there are no logs in a command")]
fn print_error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

#[allow(clippy::print_stdout, reason = "the answer to --check-config")]
fn print_ok() {
    println!("configuration ok");
}

fn start_and_run(
    service: &Service,
    config: &RuntimeConfig,
    with_admin: bool,
    app: impl AsyncFnOnce(Runtime) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker_threads.get())
        .thread_name("worker")
        .enable_all()
        .build()
        .context("build the runtime")?;
    let (runtime, admin) = start_admin(service, config, with_admin)?;
    let running = executor.block_on(async { Signals::listen() });
    let ended = running.and_then(|signals| {
        let seen_through =
            AssertUnwindSafe(|| executor.block_on(see_through(config.shutdown_grace, runtime, signals, app)));
        catch_unwind(seen_through).unwrap_or_else(|_| Err(anyhow::anyhow!("the app panicked")))
    });
    executor.shutdown_timeout(BLOCKING_WORK_GRACE);
    if let Some(admin) = admin {
        admin.stop(if ended.is_ok() { End::Orderly } else { End::Cut });
    }
    ended
}

fn start_admin(
    service: &Service,
    config: &RuntimeConfig,
    with_admin: bool,
) -> anyhow::Result<(Runtime, Option<AdminServer>)> {
    if !with_admin {
        return Ok((Runtime::new(None), None));
    }
    let listener = AdminListener::bind(config.admin_listen)
        .with_context(|| format!("bind the admin server to {}", config.admin_listen))?;
    let address = listener.address().context("read the address of the admin server")?;
    let runtime = Runtime::new(Some(address));
    let telemetry = Telemetry::new(&config.telemetry, service, address.port(), &runtime)
        .context("set up the push of own metrics")?;
    let server = listener.serve(service, &runtime, telemetry).context("start the admin server")?;
    tracing::info!(%address, "admin server listens");
    Ok((runtime, Some(server)))
}

/// Runs the app to its end and the drain after it, with the signals and the deadline beside them.
async fn see_through(
    grace: Duration,
    runtime: Runtime,
    mut signals: Signals,
    app: impl AsyncFnOnce(Runtime) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let process = runtime.readiness().condition("process");
    process.ready();
    let shutdown = runtime.shutdown();
    let work = async {
        let ended = {
            let _guard = runtime.guard("app");
            app(runtime.clone()).await
        };
        // The app is the process: once it has returned, what is left must end too.
        shutdown.cancel();
        runtime.drained().await;
        ended
    };
    let cut = async {
        tokio::select! {
            name = signals.next() => tracing::info!(signal = name, grace = ?grace, "stopping"),
            () = shutdown.cancelled() => {}
        }
        process.not_ready("shutting down");
        shutdown.cancel();
        tokio::select! {
            _ = signals.next() => Cut::SecondSignal,
            () = tokio::time::sleep(grace) => Cut::DeadlinePassed,
        }
    };
    let ended = tokio::select! {
        ended = pin!(work) => ended,
        cut = cut => {
            tracing::error!(late = runtime.in_hand().join(", "), "work was given up");
            return Err(cut.into());
        }
    };
    ended?;
    anyhow::ensure!(!runtime.task_panicked(), "a task panicked");
    Ok(())
}

/// The two signals that ask the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on the signals no longer kill the process. Must be called inside the runtime.
    fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    /// Name of the next signal.
    async fn next(&mut self) -> &'static str {
        let (got, name) = tokio::select! {
            got = self.terminate.recv() => (got, "SIGTERM"),
            got = self.interrupt.recv() => (got, "SIGINT"),
        };
        if got.is_none() {
            // The runtime is going down; nothing more will come.
            pending::<()>().await;
        }
        name
    }
}
