//! The `mock-service` binary: parses its arguments and hands over to the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    mock_service::run(mock_service::cli::Cli::parse())
}
