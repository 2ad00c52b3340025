//! The command line. Its form is a contract: scripts rely on it.
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use domain::tariff::TariffId;
use protocol::{AccountId, OutageId, ServiceRequestId, bounds::ShortName};

use crate::{
    bench::{Name, peer::Peer},
    role::Role,
    shard::Buckets,
    store::args::{GetArgs, KeepArgs},
    up::folder::Profile,
};

/// Customer service for an electric utility: everything on one machine, and the operator's tools.
#[derive(Debug, Parser)]
#[command(name = "gridesk", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine, with demonstration customers
    ///
    /// Starts the edge, both halves of the gate, a service center and a simulated outside world (a message inbox and a
    /// payment provider) as child processes, prints where to open the portal and how to log in, and runs until Ctrl-C.
    Up(UpArgs),
    /// Run the journeys a newcomer should see, and say pass or fail for each
    ///
    /// Speaks only HTTP, as a customer's browser would. Without --against it starts a fresh system of its own on free
    /// ports and removes it afterwards. Exit status 1 if a journey fails.
    Tour(TourArgs),
    /// Import real readings and issue their bills
    Import {
        /// What is imported.
        #[command(subcommand)]
        format: ImportFormat,
    },
    /// See the requests that customers sent in, and move them on
    Request {
        /// What to do.
        #[command(subcommand)]
        action: RequestAction,
    },
    /// Publish outages, and say that power is back
    Outage {
        /// What to do.
        #[command(subcommand)]
        action: OutageAction,
    },
    /// See what passes the gates, and add or take away some
    Gate {
        /// What to do.
        #[command(subcommand)]
        action: GateAction,
    },
    /// See in which shards buckets live, and move them while the system runs (in a cluster)
    Shard {
        /// What to do.
        #[command(subcommand)]
        action: ShardAction,
    },
    /// Look through the intranet's store of files, and keep it in an object store
    Store {
        /// What to do.
        #[command(subcommand)]
        action: StoreAction,
    },
    /// Make what the staff log in with
    Staff {
        /// What to do.
        #[command(subcommand)]
        action: StaffAction,
    },
    /// Check settings files
    Config {
        /// What to do with them.
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Print, check and apply a host's firewall (nftables), made from a topology of zones, hosts and flows
    ///
    /// The same commands as the program `gridesk-firewall`, for hosts that carry nothing else. See docs/firewall.md.
    Firewall {
        /// What to do.
        #[command(subcommand)]
        action: firewall::cli::Action,
    },
    /// Run only the simulated outside world (样例): a message inbox and a payment provider
    Sim(SimArgs),
    /// Measure how fast this is, beside something bare that does the same, in the same run
    ///
    /// Runs everything in a temporary folder on a real disk and removes it afterwards. Exit status 0 whatever the ratios,
    /// 1 where a figure could not be taken.
    Bench(BenchArgs),
    /// Write the documents that are made from the code (used by `cargo xtask openapi`)
    #[command(hide = true)]
    Describe {
        /// Into which folder.
        folder: PathBuf,
    },
    /// Run a bare program to measure beside (used by `bench` itself)
    #[command(hide = true)]
    BenchPeer {
        /// Which.
        #[arg(value_enum)]
        peer: Peer,
        /// Where it listens, if that is a Unix socket.
        #[arg(long)]
        socket: PathBuf,
    },
    /// Run one role of `up` (used by `up` itself)
    #[command(hide = true)]
    Role {
        /// Which role.
        #[arg(value_enum)]
        role: Role,
        /// Its settings.
        #[arg(long)]
        config: PathBuf,
    },
}

/// `gridesk up`
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data: PathBuf,
    /// The portal's port; the simulated outside world takes BASE+5, and 0 takes any free ports
    #[arg(long, value_name = "BASE", default_value_t = 8080)]
    pub ports: u16,
    /// Empty the data folder first; refused where the folder is not one of gridesk
    #[arg(long)]
    pub fresh: bool,
    /// How many demonstration customers to make up at the first start
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub customers: u32,
    /// No demonstration customers
    #[arg(long, conflicts_with = "customers")]
    pub no_demo: bool,
    /// How many gates, each with both halves; `gridesk gate scale` changes it later
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub gates: u8,
    /// Where the business data is kept; in a cluster, --config says where its engines are
    #[arg(long, value_enum, default_value = "embedded", requires_if("cluster", "config"))]
    pub profile: Profile,
    /// The file of a cluster's engines, as `lab up` writes it and docs/deploy.md describes it
    ///
    /// `--fresh` empties the data folder, not the engines.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How many center nodes, in a cluster
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub nodes: u8,
    /// Print the addresses as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Show every log line, not only warnings and errors
    #[arg(long, short)]
    pub verbose: bool,
}

/// `gridesk tour`
#[derive(Debug, Args)]
pub struct TourArgs {
    /// One JSON object for each journey
    #[arg(long)]
    pub json: bool,
    /// The portal of a running system, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    pub against: Option<String>,
    /// Its simulated outside world; the same host, five ports up, unless given
    #[arg(long, value_name = "URL", requires = "against")]
    pub sim: Option<String>,
    /// A demonstration phone to log in with; the first that `up` prints, unless given
    #[arg(long, value_name = "NUMBER", requires = "against", default_value = "19900000001")]
    pub phone: String,
}

/// `gridesk import …`
#[derive(Debug, Subcommand)]
pub enum ImportFormat {
    /// A Green Button file (ESPI, XML), as utilities give to their customers
    ///
    /// Uses the system that runs on the data folder; where none runs, only what the import needs is started, and
    /// stopped afterwards.
    GreenButton {
        /// The file
        file: PathBuf,
        /// Into which account; without, a new one is made
        #[arg(long, value_name = "ID")]
        account: Option<AccountId>,
        /// zj-residential, zj-residential-tou, gz-residential, bj-residential, sh-residential or sh-residential-tou
        #[arg(long, value_name = "ID")]
        tariff: TariffId,
        /// Print account and bills as one line of JSON
        #[arg(long)]
        json: bool,
        /// The data folder
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
    },
}

/// `gridesk request …`
#[derive(Debug, Subcommand)]
pub enum RequestAction {
    /// List the requests that are not closed, oldest first
    List {
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
        /// One JSON object for each
        #[arg(long)]
        json: bool,
    },
    /// Move a request on, and tell the customer
    Step {
        /// Which request
        request: ServiceRequestId,
        /// What happens
        #[arg(value_parser = ["assigned", "started", "asked", "note", "done"])]
        kind: String,
        /// What the customer is told
        #[arg(long, default_value = "")]
        text: String,
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
    },
}

/// `gridesk gate …`
#[derive(Debug, Subcommand)]
pub enum GateAction {
    /// Start gates or take some away, while the system runs
    ///
    /// Edges find new gates by themselves. One that is taken away gets nothing new, ends what crosses it, and its queue
    /// goes to the others.
    Scale {
        /// How many there are to be
        #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
        gates: u8,
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
    },
    /// Messages and bytes a second, what waits, refusals by reason, files by state
    Status {
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
        /// One JSON object for each half, queue and state
        #[arg(long)]
        json: bool,
    },
}

/// `gridesk shard …`
#[derive(Debug, Subcommand)]
pub enum ShardAction {
    /// The buckets of every shard, and how moves stand
    List {
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
        /// One JSON object for each lane
        #[arg(long)]
        json: bool,
    },
    /// Move buckets to another shard, without stopping anything
    ///
    /// Whole lanes move: `list` says which buckets those are. Each is copied, brought up to date, compared and only then
    /// switched, for which it stands still for some milliseconds. Broken off with Ctrl-C, the moves go on by themselves. The
    /// way back is the same command with the shard that they came from.
    Move {
        /// The first and the last bucket, as 0..63
        #[arg(long, value_name = "A..B")]
        buckets: Buckets,
        /// The number of the shard that they are to live in
        #[arg(long, value_name = "SHARD")]
        to: u16,
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
    },
    /// Take back the order to move a lane; one that has moved already stays
    Cancel {
        /// The lane's number
        #[arg(long, value_name = "N")]
        lane: u16,
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
    },
}

/// `gridesk store …`
#[derive(Debug, Subcommand)]
pub enum StoreAction {
    /// List content to which no request refers, older than a day
    ///
    /// With --remove it is moved aside, and what a run at least a day ago moved aside is deleted. Run it by itself every day.
    Check {
        /// Take it away
        #[arg(long)]
        remove: bool,
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
        /// The store, where it is not the data folder's own
        #[arg(long, value_name = "DIR", requires = "quarantine")]
        store: Option<PathBuf>,
        /// The quarantine of a gate that shares the store; name all of them
        #[arg(long, value_name = "DIR")]
        quarantine: Vec<PathBuf>,
    },
    /// Keep the store in a bucket of an S3-compatible object store
    ///
    /// Runs beside the gate's inner half until Ctrl-C, walks the store every 10 s and puts what is not noted as kept. The
    /// credentials come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN.
    Keep(KeepArgs),
    /// Get content by its hash, from the store or else from the bucket; verified before it is there
    Get(GetArgs),
    /// Say how much is kept, how the last walk went, and what is not kept and why
    Status {
        /// The folder that was named to `gridesk store keep`
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// One JSON object for all, and one for each of the first 20 files that are not kept
        #[arg(long)]
        json: bool,
    },
}

/// `gridesk staff …`
#[derive(Debug, Subcommand)]
pub enum StaffAction {
    /// Read a password from standard input and print its hash, for `password_hash` in the center's `[[staff]]`
    Hash,
    /// End every log-in of a member of the staff: tokens made before now are not good any more, at any edge
    ///
    /// Who is still in the center's `[[staff]]` can log in anew: take them out of it, or change the password, first.
    Revoke {
        /// Whose
        name: ShortName,
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
    },
}

/// `gridesk outage …`
#[derive(Debug, Subcommand)]
pub enum OutageAction {
    /// Publish an outage of one or more districts, or change one of the same name
    Publish {
        /// Your own name for it
        name: String,
        /// GB/T 2260 code of a district, such as 330106; may be given more than once
        #[arg(long = "division", value_name = "CODE", required = true)]
        divisions: Vec<String>,
        /// It was planned
        #[arg(long)]
        planned: bool,
        /// Where, in English
        #[arg(long)]
        area_en: String,
        /// Where, in Chinese
        #[arg(long)]
        area_zh: String,
        /// Why, in English
        #[arg(long, default_value = "")]
        cause_en: String,
        /// Why, in Chinese
        #[arg(long, default_value = "")]
        cause_zh: String,
        /// In how many minutes it begins
        #[arg(long, value_name = "N", default_value_t = 0)]
        in_minutes: u32,
        /// For how many minutes it is expected to last
        #[arg(long, value_name = "N")]
        minutes: Option<u32>,
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
        /// One JSON object for each district
        #[arg(long)]
        json: bool,
    },
    /// Say that power is back: whoever reported it is told, once
    Restore {
        /// Which outage
        outage: OutageId,
        /// Its district
        #[arg(long, value_name = "CODE")]
        division: String,
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List a district's outages, newest first
    List {
        /// GB/T 2260 code of the district
        division: String,
        /// The data folder of the running system
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
        /// One JSON object for each
        #[arg(long)]
        json: bool,
    },
}

/// `gridesk config …`
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Say what is wrong with settings files, and where; exit status 64 if something is
    Check {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Whose settings they are; told by name or content, unless given
        #[arg(long, value_enum)]
        role: Option<Role>,
        /// One JSON object for each file
        #[arg(long)]
        json: bool,
    },
}

/// `gridesk sim`
#[derive(Debug, Args)]
pub struct SimArgs {
    /// Its port on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 8085)]
    pub port: u16,
    /// Its data folder
    #[arg(long, value_name = "DIR", default_value = "./data/sim")]
    pub data: PathBuf,
    /// The secret shared with the center's payment provider sim-pay: 32 bytes, made if missing
    #[arg(long, value_name = "FILE", default_value = "./data/secrets/sim-pay.key")]
    pub merchant_key: PathBuf,
}

/// `gridesk bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum, value_name = "NAME")]
    pub name: Name,
    /// One JSON object for each case
    #[arg(long)]
    pub json: bool,
    /// What the data is kept in; in a cluster, --config says where its engines are
    ///
    /// They must hold nothing: accounts are made up in them, which stay there. `lab up --fresh` gives such engines.
    #[arg(long, value_enum, default_value = "embedded", requires_if("cluster", "config"))]
    pub profile: Profile,
    /// The file of a cluster's engines
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How many runs, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub runs: u16,
    /// How long each side of a run is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=600))]
    pub seconds: u16,
    /// How many gates messages and files go over
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub gates: u8,
    /// For `scale`: how many accounts, beside a hundredth of them
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(20_000..=10_000_000))]
    pub accounts: u64,
    /// On which disk: a temporary folder is made in DIR; in `target` here, unless given
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_contract_stands() {
        for line in [
            "gridesk up",
            "gridesk up --data d --ports 9000 --fresh --json",
            "gridesk tour --json --against http://127.0.0.1:8080",
            "gridesk import green-button f.xml --tariff zj-residential --json --data d",
            "gridesk request list --json --data d",
            "gridesk request step rq_00000000000000000000000000 done --text hello",
            "gridesk outage publish storm --division 330106 --division 330108 --area-en West --area-zh 西 --minutes 90",
            "gridesk outage restore ou_00000000000000000000000000 --division 330106",
            "gridesk outage list 330106",
            "gridesk config check a.toml b.toml",
            "gridesk firewall print --topology t.toml --host edge-1",
            "gridesk firewall check --topology t.toml --host edge-1 --json",
            "gridesk firewall apply --topology t.toml --host edge-1 --confirm-within 90 --state d",
            "gridesk firewall confirm",
            "gridesk firewall rollback --state d",
            "gridesk bench read --json --runs 3 --seconds 2",
            "gridesk bench file --gates 4",
            "gridesk up --gates 2",
            "gridesk up --profile cluster --config lab-data/cluster.toml --nodes 2",
            "gridesk gate scale 4 --data d",
            "gridesk bench scale --profile cluster --config lab-data/cluster.toml --json",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in ["gridesk up --no-demo --customers 5", "gridesk up --profile cluster"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
