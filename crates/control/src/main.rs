//! `gridesk-control`: one of the management platform's three programs.
use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use runtime::{
    shutdown::Shutdown,
    telemetry::{self, LogFormat},
};

/// One of the management platform's programs.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// Settings, TOML. Variables named GRIDESK_CONTROL__… come before it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match runtime::config::load::<control::Config>(Some(&args.config), "GRIDESK_CONTROL") {
        Ok(config) => config,
        Err(error) => {
            eprintln!("gridesk-control: {error}");
            return ExitCode::from(64);
        }
    };
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gridesk-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(config: control::Config) -> anyhow::Result<()> {
    telemetry::init("control", LogFormat::Json)?;
    let shutdown = Shutdown::on_signals()?;
    Ok(control::run(config, shutdown).await?)
}
