//! The edge as a program of its own, for a host of its own.
use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use runtime::{
    shutdown::Shutdown,
    supervise::EXIT_BAD_CONFIG,
    telemetry::{self, LogFormat},
};

/// The application server of the extranet: channel APIs and customer portal.
#[derive(Parser)]
#[command(name = "gridesk-edge", version)]
struct Arguments {
    /// Settings, in TOML; `GRIDESK_EDGE__…` in the environment wins.
    #[arg(long)]
    config: Option<PathBuf>,
    /// `human` or `json`.
    #[arg(long, default_value = "human")]
    log: LogFormat,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    telemetry::init("edge", arguments.log)?;
    match runtime::config::load(arguments.config.as_deref(), "GRIDESK_EDGE") {
        Ok(config) => edge::run(config, Shutdown::on_signals()?).await?,
        Err(error) => {
            tracing::error!(%error, "settings");
            return Ok(u8::try_from(EXIT_BAD_CONFIG).map_or(ExitCode::FAILURE, ExitCode::from));
        }
    }
    Ok(ExitCode::SUCCESS)
}
