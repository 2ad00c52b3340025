//! The `gridesk` program: reads the command line, calls what does the work, says how it ended.
use std::{io::Write, net::Ipv4Addr, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use gridesk::{
    bench, check,
    cli::{
        BenchArgs, Cli, Command, ConfigAction, GateAction, ImportFormat, ShardAction, SimArgs, StaffAction,
        StoreAction, TourArgs, UpArgs,
    },
    describe, gate_status, import, operate,
    role::{self, RoleError},
    shard, sim, staff, store, tour,
    up::{self, UpError, engines::Engines, folder::Profile, logs::Echo},
};
use runtime::{
    secret::load_or_create_key,
    shutdown::Shutdown,
    supervise::EXIT_BAD_CONFIG,
    telemetry::{self, LogFormat},
};

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        // It makes its own runtime, when it is ready for one. It logs its own end, and logs reach the terminal through `up`.
        Command::Role { role, config } => {
            role::run(role, &config).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        command => serve(command).inspect_err(|error| {
            writeln!(std::io::stderr().lock(), "error: {}", in_full(error)).ok();
        }),
    };
    ended.unwrap_or_else(|error| if is_bad_config(&error) { bad_config() } else { ExitCode::FAILURE })
}

#[tokio::main]
async fn serve(command: Command) -> anyhow::Result<ExitCode> {
    Box::pin(run(command)).await
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => run_up(args).await,
        Command::Tour(args) => run_tour(args).await,
        Command::Import { format } => run_import(format).await,
        Command::Request { action } => print_all(operate::request(&action).await?),
        Command::Gate { action: GateAction::Status { data, json } } => {
            print_all(gate_status::status(&data, json).await?)
        }
        Command::Gate { action: GateAction::Scale { gates, data } } => {
            print_all(vec![up::control::scale(&data, gates).await?])
        }
        Command::Shard { action: ShardAction::List { data, json } } => {
            print_all(shard::list(&data, json).await?)
        }
        Command::Shard { action: ShardAction::Move { buckets, to, data } } => {
            shard::move_buckets(&data, buckets, to, |line| print(line).unwrap_or_default()).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Shard { action: ShardAction::Cancel { lane, data } } => {
            print_all(shard::cancel(&data, lane).await?)
        }
        Command::Store { action: StoreAction::Check { remove, data, store: folder, quarantine } } => {
            let stores = store::Stores {
                store: folder.unwrap_or_else(|| data.join("inner/store")),
                quarantines: match quarantine {
                    none if none.is_empty() => vec![data.join("inner/quarantine")],
                    named => named,
                },
                data,
            };
            print_all(store::lines(&store::check(&stores, remove, store::DAY).await?, remove))
        }
        Command::Store { action: StoreAction::Keep(args) } => {
            telemetry::init("store-keep", LogFormat::Human)?;
            store::keep::run(&args, &Shutdown::on_signals()?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Store { action: StoreAction::Get(args) } => {
            print_all(vec![format!("{} from {}", args.out.display(), store::get::get(&args).await?)])
        }
        Command::Store { action: StoreAction::Status { state, json } } => {
            print_all(store::status::status(&state, json)?)
        }
        Command::Staff { action: StaffAction::Revoke { name, data } } => {
            print_all(operate::revoke(&name, &data).await?)
        }
        Command::Staff { action: StaffAction::Hash } => print_all(vec![staff::hash_typed()?]),
        Command::Outage { action } => print_all(operate::outage(&action).await?),
        Command::Config { action: ConfigAction::Check { files, role, json } } => {
            let checked: Vec<_> = files.iter().map(|file| check::check(file, role)).collect();
            for one in &checked {
                match (json, &one.problem) {
                    (true, _) => print(&serde_json::to_string(one)?)?,
                    (false, None) => print(&format!("{}: ok ({})", one.file, one.role.unwrap_or("?")))?,
                    (false, Some(problem)) => print(problem)?,
                }
            }
            Ok(if checked.iter().all(|one| one.ok) { ExitCode::SUCCESS } else { bad_config() })
        }
        Command::Firewall { action } => {
            let as_it_should = firewall::cli::run(&action, &["firewall"], &mut std::io::stdout().lock())?;
            Ok(if as_it_should { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Sim(args) => run_sim(args).await,
        Command::Bench(args) => run_bench(args).await,
        Command::Describe { folder } => {
            for name in describe::write(&folder).with_context(|| folder.display().to_string())? {
                print(&format!("{} written", folder.join(name).display()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::BenchPeer { peer, socket } => {
            bench::peer::run(peer, &socket).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Role { .. } => unreachable!("`main` runs it, without this runtime"),
    }
}

fn print_all(lines: Vec<String>) -> anyhow::Result<ExitCode> {
    lines.iter().try_for_each(|line| print(line))?;
    Ok(ExitCode::SUCCESS)
}

async fn run_up(args: UpArgs) -> anyhow::Result<ExitCode> {
    let level = if args.verbose { tracing::Level::INFO } else { tracing::Level::WARN };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    if args.nodes > 1 && args.profile == Profile::Embedded {
        anyhow::bail!(
            "one node alone works on a data folder: --nodes {} needs --profile cluster",
            args.nodes
        );
    }
    let options = up::Options {
        data: args.data,
        base_port: args.ports,
        fresh: args.fresh,
        demo_customers: if args.no_demo { 0 } else { args.customers },
        gates: args.gates,
        engines: engines(args.profile, args.config)?,
        nodes: args.nodes,
        echo: if args.verbose { Echo::All } else { Echo::Warnings },
    };
    up::command(options, args.json).await?;
    Ok(ExitCode::SUCCESS)
}

/// The engines' file, where there is a cluster.
fn engines(profile: Profile, config: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    match (profile, config) {
        (Profile::Embedded, Some(_)) => {
            anyhow::bail!("--config names a cluster's engines: add --profile cluster")
        }
        (_, config) => Ok(config),
    }
}

async fn run_tour(args: TourArgs) -> anyhow::Result<ExitCode> {
    let against = match args.against {
        Some(portal) => Some(tour::Target::new(&portal, args.sim.as_deref(), &args.phone)?),
        None => None,
    };
    let mut all_ok = true;
    let report = |outcome: tour::Outcome| {
        all_ok &= outcome.ok;
        let line = match args.json {
            true => serde_json::to_string(&outcome).unwrap_or_default(),
            false => outcome.to_string(),
        };
        print(&line).ok();
    };
    tour::run(against, report).await?;
    Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_import(format: ImportFormat) -> anyhow::Result<ExitCode> {
    let ImportFormat::GreenButton { file, account, tariff, json, data } = format;
    let options = import::Options { file, account, tariff, data };
    let imported = import::run(&options).await;
    let imported =
        imported.with_context(|| format!("nothing was imported from {}", options.file.display()))?;
    print(&if json { serde_json::to_string(&imported)? } else { import::table(&imported) })?;
    Ok(ExitCode::SUCCESS)
}

async fn run_sim(args: SimArgs) -> anyhow::Result<ExitCode> {
    telemetry::init("sim", LogFormat::Human)?;
    if let Some(folder) = args.merchant_key.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    load_or_create_key(&args.merchant_key)?;
    let config = sim::Config::new((Ipv4Addr::LOCALHOST, args.port).into(), args.data, args.merchant_key);
    sim::run(config, Shutdown::on_signals()?).await?;
    Ok(ExitCode::SUCCESS)
}

async fn run_bench(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let options = bench::Options {
        name: args.name,
        engines: engines(args.profile, args.config)?.as_deref().map(Engines::read).transpose()?,
        runs: args.runs.into(),
        each: std::time::Duration::from_secs(args.seconds.into()),
        gates: args.gates.into(),
        accounts: args.accounts,
        data: args.data,
    };
    let shutdown = Shutdown::on_signals()?;
    let measured = tokio::task::spawn_blocking(move || {
        let mut first = true;
        bench::run(&options, &shutdown, |case| {
            let line = match args.json {
                true => serde_json::to_string(case).unwrap_or_default(),
                false => case.to_string(),
            };
            if std::mem::take(&mut first) && !args.json {
                print(&format!(
                    "{}, commit {}, median of {}\n{}",
                    case.machine,
                    case.commit,
                    case.runs,
                    bench::HEAD
                ))
                .ok();
            }
            print(&line).ok();
        })
    });
    measured.await.context("the benchmark broke")??;
    Ok(ExitCode::SUCCESS)
}

/// `println!` panics where standard output is closed.
fn print(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
}

/// An error with its causes, each said once: some errors name their cause themselves.
fn in_full(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_bad_config(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(RoleError::Config(_)))
        || matches!(error.downcast_ref(), Some(UpError::BadConfig { .. }))
        || error.downcast_ref().is_some_and(firewall::cli::CliError::is_bad_config)
}

fn bad_config() -> ExitCode {
    u8::try_from(EXIT_BAD_CONFIG).map_or(ExitCode::FAILURE, ExitCode::from)
}
