//! The management platform: sees the nodes, decides, and publishes what everybody follows.
//!
//! It runs three times and leads by an election; only the leader writes, each time under its fence. What it does is
//! [`decide()`], a pure function of what it sees; [`lead`] sees and acts.
pub mod config;
pub mod decide;
pub mod lead;
mod server;

pub use config::Config;
pub use decide::{Action, Observations, decide};
pub use server::{ControlError, run};
