//! A gate's half as a program of its own, for a host of its own.
use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use runtime::{
    shutdown::Shutdown,
    supervise::EXIT_BAD_CONFIG,
    telemetry::{self, LogFormat},
};

/// The security isolation device between extranet and intranet.
#[derive(Parser)]
#[command(name = "gridesk-gate", version)]
struct Arguments {
    /// Which half this is.
    #[command(subcommand)]
    half: Half,
    /// `human` or `json`.
    #[arg(long, default_value = "human", global = true)]
    log: LogFormat,
}

#[derive(Subcommand)]
enum Half {
    /// The half in the extranet.
    Outer {
        /// Settings, in TOML; `GRIDESK_OUTER__…` in the environment wins.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// The half in the intranet.
    Inner {
        /// Settings, in TOML; `GRIDESK_INNER__…` in the environment wins.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let shutdown = Shutdown::on_signals()?;
    match arguments.half {
        Half::Outer { config } => {
            telemetry::init("gate-outer", arguments.log)?;
            match runtime::config::load(config.as_deref(), "GRIDESK_OUTER") {
                Ok(config) => gate::outer::run(config, shutdown).await?,
                Err(error) => return Ok(bad_config(&error)),
            }
        }
        Half::Inner { config } => {
            telemetry::init("gate-inner", arguments.log)?;
            match runtime::config::load(config.as_deref(), "GRIDESK_INNER") {
                Ok(config) => gate::inner::run(config, shutdown).await?,
                Err(error) => return Ok(bad_config(&error)),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn bad_config(error: &runtime::config::ConfigError) -> ExitCode {
    tracing::error!(%error, "settings");
    u8::try_from(EXIT_BAD_CONFIG).map_or(ExitCode::FAILURE, ExitCode::from)
}
