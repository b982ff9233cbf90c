//! The process that becomes a server, and the one that sweeps up after it.
//!
//! - `devstack-launch exec PARENT PROGRAM ARGS…` becomes PROGRAM.
//! - `devstack-launch clickhouse PARENT LIBRARY ARGS…` becomes a ClickHouse server, whose engine is a shared library.
//! - `devstack-launch sweep FOLDER` waits until its standard input ends, then removes FOLDER.
//!
//! The first two ask the kernel to kill them when the thread that started them ends, and the parent starts them from
//! a thread that lives as long as itself. So no server outlives its owner, however that one dies, and also a frozen
//! server goes. SIGKILL is no loss here: what ClickHouse and Kafka have acknowledged survives it.
//!
//! Why ClickHouse is run this way: plain SIGTERM kills the library's server like SIGKILL. Its SQL session therefore
//! reads a pipe of ours, the server lives while that is open, and SIGTERM closes it: a clean stop in 0.1 s.

use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::io::{PipeWriter, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let mode = args.next().unwrap_or_default();
    let outcome = match mode.to_str() {
        Some("exec") => stay_with_parent(args.next()).and_then(|()| exec(&args.collect::<Vec<_>>())),
        Some("clickhouse") => {
            stay_with_parent(args.next()).and_then(|()| clickhouse(&args.collect::<Vec<_>>()))
        }
        Some("sweep") => sweep(args.next()),
        _ => Err("usage: devstack-launch exec|clickhouse PARENT PROGRAM ARGS… | sweep FOLDER".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "standard error is the server's log")]
            {
                eprintln!("devstack-launch: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The kernel ends this process with its parent from here on.
fn stay_with_parent(parent: Option<OsString>) -> Outcome {
    let parent: i32 = parent.and_then(|text| text.into_string().ok()).ok_or("PARENT is missing")?.parse()?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // A parent that died before the line above was heard will send nothing.
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return Err("the parent is gone".into());
    }
    Ok(())
}

fn exec(args: &[OsString]) -> Outcome {
    let (program, args) = args.split_first().ok_or("PROGRAM is missing")?;
    Err(Box::new(Command::new(program).args(args).exec()))
}

fn clickhouse(args: &[OsString]) -> Outcome {
    let (library, args) = args.split_first().ok_or("LIBRARY is missing")?;
    let (session, hold) = std::io::pipe()?;
    rustix::stdio::dup2_stdin(&session)?;
    drop(session);
    // The library starts threads when it is loaded, and they inherit the mask: block first.
    let signals = block_stop_signals()?;
    std::thread::Builder::new().name("stop".into()).spawn(move || close_on_signal(signals, hold))?;

    let mut argv: Vec<CString> = vec![CString::new("clickhouse")?];
    for arg in args {
        argv.push(CString::new(arg.clone().into_vec())?);
    }
    let failed = run_engine(Path::new(library), &argv)?;
    // The engine's threads still run and use what its destructors would take away: leave without them, and without
    // ever unloading it.
    #[allow(clippy::disallowed_methods, reason = "returning from main would race with the library's threads")]
    std::process::exit(i32::from(failed))
}

/// Waits for the end of standard input (the parent is gone), then removes the folder of its servers.
fn sweep(folder: Option<OsString>) -> Outcome {
    let folder = folder.ok_or("FOLDER is missing")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    // The servers were killed a moment ago and may still write: until it holds, for at most ten seconds.
    for _ in 0..100 {
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => break,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
            Err(_) => {
                #[allow(
                    clippy::disallowed_methods,
                    reason = "nothing to wait on: the servers are not our children"
                )]
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    Ok(())
}

#[allow(
    unsafe_code,
    reason = "signal masks have no safe interface; both calls get a set we have initialised"
)]
fn block_stop_signals() -> std::io::Result<libc::sigset_t> {
    // SAFETY: sigset_t is plain data, sigemptyset initialises it before anything reads it, the pointers live through
    // the calls, and a null old mask is allowed.
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGTERM);
        libc::sigaddset(&raw mut signals, libc::SIGINT);
        match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut()) {
            0 => Ok(signals),
            error => Err(std::io::Error::from_raw_os_error(error)),
        }
    }
}

#[allow(unsafe_code, reason = "sigwait has no safe interface; it gets the set that block_stop_signals made")]
fn close_on_signal(signals: libc::sigset_t, hold: PipeWriter) {
    let mut signal: c_int = 0;
    // SAFETY: both pointers are to live values of the right type, and every signal of the set is blocked.
    unsafe { libc::sigwait(&raw const signals, &raw mut signal) };
    drop(hold);
}

/// Runs the server to its end; true when the engine reports an error.
#[allow(unsafe_code, reason = "the engine is a shared library with a C interface")]
fn run_engine(library: &Path, argv: &[CString]) -> Result<bool, Box<dyn std::error::Error>> {
    type QueryCmdline = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut c_void;
    type ResultError = unsafe extern "C" fn(*mut c_void) -> *const c_char;

    let mut pointers: Vec<*mut c_char> = argv.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
    let count = c_int::try_from(pointers.len())?;
    pointers.push(std::ptr::null_mut());

    // SAFETY: the library is the pinned one, whose initialisers may run in a single-threaded part of a process; the
    // two symbols have these types in its header; argv is a null-terminated array of strings that outlive the call,
    // and the engine does not write to them; the result is not freed, and its error text is only read.
    unsafe {
        let library = std::mem::ManuallyDrop::new(libloading::Library::new(library)?);
        let run: libloading::Symbol<'_, QueryCmdline> = library.get(b"chdb_query_cmdline\0")?;
        let error: libloading::Symbol<'_, ResultError> = library.get(b"chdb_result_error\0")?;
        let result = run(count, pointers.as_mut_ptr());
        if result.is_null() {
            return Ok(true);
        }
        let text = error(result);
        if text.is_null() {
            return Ok(false);
        }
        #[allow(clippy::print_stderr, reason = "standard error is the server's log")]
        {
            eprintln!("devstack-launch: {}", std::ffi::CStr::from_ptr(text).to_string_lossy());
        }
        Ok(true)
    }
}
