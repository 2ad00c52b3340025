//! The firewall's command line, for its own program and for `gridesk firewall`.
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Subcommand};

use crate::{
    Applier, NftError, Ruleset, RulesetError, Topology, TopologyError, apply::ApplyError, check::check,
    state::StateError,
};

/// What to do with a host's firewall.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Print a host's ruleset, as `nft -f` takes it
    ///
    /// Reads nothing but the topology and changes nothing; needs no root.
    Print(Of),
    /// Say by what this host's running rules differ from its topology; exit status 1 if they do
    ///
    /// Names every line that is lacking or too much, and every table of others that packets pass and the topology does not
    /// name. Changes nothing.
    Check {
        /// Whose rules.
        #[command(flatten)]
        of: Of,
        /// One JSON object for each difference
        #[arg(long)]
        json: bool,
    },
    /// Load this host's ruleset; unless it is confirmed in time, what ran before returns
    ///
    /// All rules change in one transaction, or none. What ran before is kept in the state folder. A process in a session of
    /// its own waits for `confirm`; it outlives this command and the login it was given from.
    Apply {
        /// Whose rules.
        #[command(flatten)]
        of: Of,
        /// After how long it is taken back
        #[arg(
            long,
            value_name = "SECONDS",
            default_value_t = 60,
            value_parser = clap::value_parser!(u64).range(3..=86_400)
        )]
        confirm_within: u64,
        /// Where state is kept.
        #[command(flatten)]
        state: StateFolder,
    },
    /// Keep what was applied: best from a second login, which shows that one still gets in
    Confirm(StateFolder),
    /// Give back what ran before the last apply, at once
    Rollback(StateFolder),
    /// Wait for a decision (used by `apply` itself)
    #[command(hide = true)]
    Watch {
        /// Where state is kept.
        #[command(flatten)]
        state: StateFolder,
        /// Which apply.
        #[arg(long)]
        id: String,
    },
}

/// Whose rules.
#[derive(Debug, Args)]
pub struct Of {
    /// The topology: zones, hosts, programs, flows (docs/topology.example.toml)
    #[arg(long, value_name = "FILE")]
    pub topology: PathBuf,
    /// Which of its hosts
    #[arg(long, value_name = "NAME")]
    pub host: String,
}

/// Where state is kept.
#[derive(Debug, Args)]
pub struct StateFolder {
    /// Where apply keeps what it needs to go back
    #[arg(long = "state", value_name = "DIR", default_value = "/var/lib/gridesk/firewall")]
    pub folder: PathBuf,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The topology file.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The host's name.
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    /// The kernel's rules.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// Applying, confirming, rolling back.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The output cannot be written.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl CliError {
    /// Whether what the user wrote is at fault.
    pub fn is_bad_config(&self) -> bool {
        matches!(self, Self::Topology(_) | Self::Ruleset(_))
    }
}

/// Does it, and answers whether all is as it should be. `own_words` are the words before a command, such as `firewall`.
///
/// # Errors
/// [`CliError`].
pub fn run(action: &Action, own_words: &[&str], out: &mut impl Write) -> Result<bool, CliError> {
    let applier = |state: &StateFolder| Applier::new(&state.folder, own_words);
    match action {
        Action::Print(of) => write!(out, "{}", of.rules()?.1)?,
        Action::Check { of, json } => {
            let (topology, rules) = of.rules()?;
            let found = check(&topology, &rules)?;
            for one in &found {
                match json {
                    true => writeln!(out, "{}", serde_json::to_string(one).map_err(io::Error::other)?)?,
                    false => writeln!(out, "{one}")?,
                }
            }
            match (json, found.len()) {
                (true, _) => {}
                (false, 0) => writeln!(out, "{}: as its topology says", of.host)?,
                (false, count) => writeln!(out, "{}: {count} differences", of.host)?,
            }
            return Ok(found.is_empty());
        }
        Action::Apply { of, confirm_within, state } => {
            let (_, rules) = of.rules()?;
            let applied = applier(state)?.apply(&rules, Duration::from_secs(*confirm_within))?;
            let before = match applied.replaced {
                true => "the rules of before",
                false => "the state of before (no rules of ours)",
            };
            writeln!(
                out,
                "{}: rules loaded.\nUnless `confirm` comes within {confirm_within} s, {before} return, from {}.\n\
                 Log in a second time to see that you still can, and confirm from there.",
                of.host,
                applied.previous.display()
            )?;
        }
        Action::Confirm(state) => {
            let file = applier(state)?.confirm()?;
            writeln!(out, "kept; the host is to load {} when it starts", file.display())?;
        }
        Action::Rollback(state) => match applier(state)?.rollback()? {
            true => writeln!(out, "the rules of before run again")?,
            false => writeln!(out, "there were no rules before: this host filters nothing now")?,
        },
        Action::Watch { state, id } => applier(state)?.watch(id)?,
    }
    Ok(true)
}

impl Of {
    fn rules(&self) -> Result<(Topology, Ruleset), CliError> {
        let topology = Topology::load(&self.topology)?;
        let rules = Ruleset::of(&topology, &self.host)?;
        Ok((topology, rules))
    }
}
