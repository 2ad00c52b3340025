//! The firewall's commands as a program of its own, for hosts that carry nothing else of Gridesk.
use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use firewall::cli::{self, Action};
use runtime::supervise::EXIT_BAD_CONFIG;

/// From a topology file to this host's nftables rules.
#[derive(Debug, Parser)]
#[command(name = "gridesk-firewall", version, arg_required_else_help = true)]
struct Arguments {
    /// What to do.
    #[command(subcommand)]
    action: Action,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match cli::run(&arguments.action, &[], &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            writeln!(io::stderr().lock(), "error: {error}").ok();
            match error.is_bad_config() {
                true => u8::try_from(EXIT_BAD_CONFIG).map_or(ExitCode::FAILURE, ExitCode::from),
                false => ExitCode::FAILURE,
            }
        }
    }
}
