//! The command line: reads settings, calls a command, turns its error into a line for people and an exit status.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zhujiao: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
