//! Runs commands from the project's root, each as a named step with its time.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The steps of one command, with the time each one took.
#[derive(Debug)]
pub(crate) struct Steps {
    root: PathBuf,
    taken: Vec<(String, Duration)>,
}

/// The servers of this run.
#[derive(Debug)]
pub(crate) struct Stack {
    process: Background,
    env: Vec<(String, String)>,
    /// Held open: a program whose standard output is gone fails at its next line.
    _output: BufReader<ChildStdout>,
}

impl Steps {
    pub(crate) fn new() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies below the root")?;
        Ok(Self { root: root.to_path_buf(), taken: Vec::new() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Runs `cargo ARGS` as the step `name`.
    pub(crate) fn cargo(&mut self, name: &str, args: &[&str]) -> Result<()> {
        self.cargo_with(Vec::new(), name, args)
    }

    /// Runs `cargo ARGS` with additional environment variables.
    pub(crate) fn cargo_with(&mut self, env: Vec<(String, String)>, name: &str, args: &[&str]) -> Result<()> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(args).envs(env);
        self.timed(name, |steps| steps.finish(&mut command))
    }

    /// Runs a program of the project as the step `name`.
    pub(crate) fn run(&mut self, name: &str, program: &str, args: &[&str]) -> Result<()> {
        let mut command = Command::new(self.root.join(program));
        command.args(args);
        self.timed(name, |steps| steps.finish(&mut command))
    }

    /// Runs a program of the system in `folder` as the step `name`.
    pub(crate) fn command(&mut self, name: &str, folder: &Path, program: &str, args: &[&str]) -> Result<()> {
        self.command_with(Vec::new(), name, folder, program, args)
    }

    /// The same with additional environment variables.
    pub(crate) fn command_with(
        &mut self,
        env: Vec<(String, String)>,
        name: &str,
        folder: &Path,
        program: &str,
        args: &[&str],
    ) -> Result<()> {
        let folder = folder.to_path_buf();
        self.timed(name, |_| {
            let status = Command::new(program)
                .args(args)
                .envs(env)
                .current_dir(&folder)
                .status()
                .with_context(|| format!("start {program}"))?;
            if !status.success() {
                bail!("{program} {} ended with {status}", args.join(" "));
            }
            Ok(())
        })
    }

    /// Starts a program that works beside the following steps; [`Steps::wait`] ends it.
    pub(crate) fn spawn(&self, program: &str, args: &[&str]) -> Result<Background> {
        let child = Command::new(self.root.join(program))
            .args(args)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("start {program}"))?;
        Ok(Background(Some(child)))
    }

    /// Waits for a program started by [`Steps::spawn`].
    pub(crate) fn wait(&mut self, name: &str, mut background: Background) -> Result<()> {
        self.timed(name, |_| {
            let mut child = background.0.take().context("a background step is waited for once")?;
            let status = child.wait().with_context(|| format!("wait for {name}"))?;
            if !status.success() {
                bail!("{name} failed ({status})");
            }
            Ok(())
        })
    }

    /// Starts the servers that the tests of this run share; they end with this process, however it ends.
    pub(crate) fn stack(&mut self, profile: &str) -> Result<Stack> {
        let mut addresses = Vec::new();
        let mut started = None;
        self.timed("start the servers", |steps| {
            let mut child = Command::new(steps.root.join(profile).join("devstack-launch"))
                .args(["exec", &std::process::id().to_string()])
                .arg(steps.root.join(profile).join("devstack"))
                .args(["up", "--foreground", "--temporary"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .context("start devstack")?;
            let mut output = BufReader::new(child.stdout.take().context("the output is piped")?);
            let process = Background(Some(child));
            loop {
                let mut line = String::new();
                if output.read_line(&mut line).context("read devstack's output")? == 0 {
                    bail!("the servers did not start");
                }
                addresses.extend(assignment(line.trim_end()));
                // The last line: all servers answer.
                if line.starts_with("DEVSTACK_DIR=") {
                    started = Some((process, output));
                    return Ok(());
                }
            }
        })?;
        let (process, output) = started.context("a step that succeeded has started devstack")?;
        Ok(Stack { process, env: addresses, _output: output })
    }

    /// Runs `work` and remembers how long it took.
    pub(crate) fn timed(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        eprintln!("==> {name}");
        let start = Instant::now();
        let outcome = work(self);
        let took = start.elapsed();
        eprintln!(
            "<== {name}: {:.1} s{}",
            took.as_secs_f64(),
            if outcome.is_ok() { "" } else { " (failed)" }
        );
        self.taken.push((name.to_owned(), took));
        outcome.with_context(|| format!("step \"{name}\""))
    }

    /// Prints the time of every step.
    pub(crate) fn report(&self) {
        eprintln!("\nwhere the time went:");
        for (name, took) in &self.taken {
            eprintln!("  {:>7.1} s  {name}", took.as_secs_f64());
        }
        let total: Duration = self.taken.iter().map(|(_, took)| *took).sum();
        eprintln!("  {:>7.1} s  in all", total.as_secs_f64());
    }

    fn finish(&self, command: &mut Command) -> Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        let status = command.current_dir(&self.root).status().with_context(|| format!("start {program}"))?;
        if !status.success() {
            bail!("{program} ended with {status}");
        }
        Ok(())
    }
}

impl Stack {
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        self.env.clone()
    }

    /// Ends the servers; their data goes with them.
    pub(crate) fn down(self, steps: &mut Steps) -> Result<()> {
        let Self { mut process, .. } = self;
        steps.timed("stop the servers", |steps| {
            let mut child = process.0.take().context("devstack runs")?;
            steps.finish(Command::new("kill").args(["-s", "TERM", &child.id().to_string()]))?;
            let status = child.wait().context("wait for devstack")?;
            if !status.success() {
                bail!("devstack ended with {status}");
            }
            Ok(())
        })
    }
}

/// A child that is ended when the step before its end fails.
#[derive(Debug)]
pub(crate) struct Background(Option<Child>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Nothing is lost when it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `KEY=value` to its two parts.
fn assignment(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=')?;
    Some((key.to_owned(), value.to_owned()))
}
