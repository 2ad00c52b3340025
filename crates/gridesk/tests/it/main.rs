//! Tests of the simulated outside world, of the command line, and of the whole system.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod api;
mod browser;
mod checker;
mod cli;
mod client;
mod clock;
mod debit;
mod exports;
mod faults;
mod files;
mod flush;
mod import;
mod kills;
mod netns_gate;
mod pages;
mod person;
mod sim;
mod store_keep;
mod supply;
mod system;
mod two_shards;
mod webdriver;
mod world;
mod zones;
