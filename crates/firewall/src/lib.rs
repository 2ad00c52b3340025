//! The firewall: from a topology file to each host's nftables ruleset, and that ruleset onto the host.
//!
//! [`Topology`] says who may speak to whom and refuses whatever would join the intranet to anything else by IP;
//! [`Ruleset`] is one host's part of it. [`check()`] compares a running host with it, [`Applier`] puts it there with a
//! way back: unless somebody confirms that the host can still be reached, what was there before returns by itself.
mod address;
pub mod apply;
pub mod check;
pub mod cli;
mod listing;
mod nft;
mod ruleset;
mod state;
mod topology;

pub use apply::Applier;
pub use check::check;
pub use nft::NftError;
pub use ruleset::{Ruleset, RulesetError};
pub use topology::{Problem, Side, Topology, TopologyError};
