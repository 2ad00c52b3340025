//! `gridesk-center`: a node of the shared service center, alone on its host.
use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use runtime::{
    shutdown::Shutdown,
    telemetry::{self, LogFormat},
};

/// A node of the shared service center.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// Settings, TOML. Variables named GRIDESK_CENTER__… come before it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match runtime::config::load::<center::Config>(Some(&args.config), "GRIDESK_CENTER") {
        Ok(config) => config,
        Err(error) => {
            eprintln!("gridesk-center: {error}");
            return ExitCode::from(64);
        }
    };
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gridesk-center: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(config: center::Config) -> anyhow::Result<()> {
    telemetry::init("center", LogFormat::Json)?;
    let shutdown = Shutdown::on_signals()?;
    Ok(center::run(config, shutdown).await?)
}
