//! The `lab` program: the cluster's engines on one machine.
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser, builder::TypedValueParser};
use lab::{
    Cluster, Shape,
    cluster::{DESCRIPTION, Settings},
    running::{self, Running},
};
use runtime::shutdown::Shutdown;

/// How often it is seen whether all engines still run.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long `down` waits until all have ended.
const DOWN_WITHIN: Duration = Duration::from_secs(40);

/// PostgreSQL, NATS, Redis and etcd on this machine, as Gridesk's cluster profile needs them. For development.
#[derive(Debug, Parser)]
#[command(name = "lab", version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything, and run until Ctrl-C
    ///
    /// Takes the installed programs, on free ports of 127.0.0.1, and says in cluster.toml in the data folder where
    /// everything is, with passwords. A folder that is there starts with the shape and the data that it has.
    Up(UpArgs),
    /// Say what runs in a data folder and whether it answers; exit status 1 unless all of it does
    Status(DataArgs),
    /// Stop what `up` started elsewhere, and wait until it has ended
    Down(DataArgs),
}

#[derive(Debug, Args)]
struct UpArgs {
    /// Where to keep it.
    #[command(flatten)]
    data: DataArgs,
    /// How many masters of PostgreSQL
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: u16,
    /// How many slaves each master has
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=8))]
    slaves: u16,
    /// How many servers of NATS
    #[arg(long, value_name = "N", default_value = "1", value_parser = one_or_three())]
    nats: u8,
    /// How many members of etcd
    #[arg(long, value_name = "N", default_value = "1", value_parser = one_or_three())]
    etcd: u8,
    /// Empty the data folder first; refused where it is not one of the lab's
    #[arg(long)]
    fresh: bool,
}

#[derive(Debug, Args)]
struct DataArgs {
    /// The data folder
    #[arg(long, value_name = "DIR", default_value = "lab-data")]
    data: PathBuf,
}

fn one_or_three() -> impl TypedValueParser<Value = u8> {
    PossibleValuesParser::new(["1", "3"]).map(|text| if text == "1" { 1 } else { 3 })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Up(args) => up(args).await,
        Command::Status(DataArgs { data }) => status(&data),
        Command::Down(DataArgs { data }) => down(&data),
    };
    ended.unwrap_or_else(|error| {
        writeln!(std::io::stderr().lock(), "error: {error:#}").ok();
        ExitCode::FAILURE
    })
}

async fn up(args: UpArgs) -> Result<ExitCode> {
    let shutdown = Shutdown::on_signals()?;
    let wanted = Shape {
        shards: args.shards,
        slaves_per_shard: args.slaves,
        nats: args.nats,
        redis: true,
        etcd: args.etcd,
    };
    let (shape, data) = (wanted.clone(), args.data.data);
    let begun = Instant::now();
    let starting = tokio::task::spawn_blocking(move || {
        if args.fresh {
            Cluster::wipe(&data)?;
        }
        let progress = |line: &str| say(&format!("{:>5.1} s  {line}", begun.elapsed().as_secs_f32()));
        Cluster::start_with(&shape, &Settings::default(), &data, &progress)
    });
    let mut cluster = tokio::select! {
        started = starting => started??,
        () = shutdown.begun() => {
            say("stopped while starting");
            // What has been started ends with this process.
            std::process::exit(130);
        }
    };
    if *cluster.shape() != wanted {
        say(&format!("the folder was made as {}: --fresh makes it anew", in_words(cluster.shape())));
    }
    say(&format!("all is described in {}, with passwords", cluster.description_path().display()));
    say("Ctrl-C stops everything");

    let mut said = Vec::new();
    while !shutdown.is_begun() {
        tokio::select! {
            () = shutdown.begun() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {
                for folder in cluster.ended() {
                    if !said.contains(&folder) {
                        say(&format!("ended by itself, its log is there: {}", folder.display()));
                        said.push(folder);
                    }
                }
            }
        }
    }
    let begun = Instant::now();
    tokio::task::spawn_blocking(move || cluster.stop()).await?;
    say(&format!("stopped, in {:.1} s", begun.elapsed().as_secs_f32()));
    Ok(ExitCode::SUCCESS)
}

fn status(data: &Path) -> Result<ExitCode> {
    let Some(Running { pid, program }) = running::of(data)? else {
        say(&format!("nothing runs in {}", data.display()));
        return Ok(ExitCode::FAILURE);
    };
    say(&format!("process {pid} ({program}) runs in {}", data.display()));
    let mut all_answer = true;
    for (name, address) in running::addresses(data)? {
        let answers = running::answers(&address);
        all_answer &= answers;
        say(&format!("{name:<28} {address:<22} {}", if answers { "answers" } else { "does not answer" }));
    }
    say(&format!("more in {}", data.join(DESCRIPTION).display()));
    Ok(if all_answer { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn down(data: &Path) -> Result<ExitCode> {
    let Some(running) = running::of(data)? else {
        say(&format!("nothing runs in {}", data.display()));
        return Ok(ExitCode::SUCCESS);
    };
    if running.program != "lab up" {
        bail!("process {} ({}) runs it, which is not `lab up`: end that", running.pid, running.program);
    }
    running.end(data, DOWN_WITHIN).with_context(|| format!("process {}", running.pid))?;
    say("stopped");
    Ok(ExitCode::SUCCESS)
}

fn in_words(shape: &Shape) -> String {
    format!(
        "{} shards with {} slaves each, {} servers of NATS, {} members of etcd",
        shape.shards, shape.slaves_per_shard, shape.nats, shape.etcd
    )
}

fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").ok();
}
