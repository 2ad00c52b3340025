//! A gate's half as a program of its own, for a host of its own.
use std::{future::Future, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use gate::GateError;
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

// No runtime before a half is confined: its threads would keep what this one gives up.
fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    // Counted now: once confined, it cannot read what its control group may use.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match arguments.half {
        Half::Outer { config } => {
            telemetry::init("gate-outer", arguments.log)?;
            match runtime::config::load(config.as_deref(), "GRIDESK_OUTER") {
                Ok(config) => {
                    let half = gate::outer::open(config)?;
                    serve(cores, |shutdown| half.serve(shutdown))?;
                }
                Err(error) => return Ok(bad_config(&error)),
            }
        }
        Half::Inner { config } => {
            telemetry::init("gate-inner", arguments.log)?;
            match runtime::config::load(config.as_deref(), "GRIDESK_INNER") {
                Ok(config) => {
                    let half = gate::inner::open(config)?;
                    serve(cores, |shutdown| half.serve(shutdown))?;
                }
                Err(error) => return Ok(bad_config(&error)),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn serve<F: Future<Output = Result<(), GateError>>>(
    cores: usize,
    half: impl FnOnce(Shutdown) -> F,
) -> anyhow::Result<()> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        builder.worker_threads(cores);
    }
    builder.enable_all().build()?.block_on(async { Ok(half(Shutdown::on_signals()?).await?) })
}

fn bad_config(error: &runtime::config::ConfigError) -> ExitCode {
    tracing::error!(%error, "settings");
    u8::try_from(EXIT_BAD_CONFIG).map_or(ExitCode::FAILURE, ExitCode::from)
}
