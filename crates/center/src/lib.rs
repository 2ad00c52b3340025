//! A node of the shared service center.
//!
//! ```text
//!             ┌ read ─► authorize ─► cache ─► slave
//! inner ─► node                        ▲
//!             └ write ─► lane ─► applier ─► master ─► follower
//! ```
//! [`node`] takes what the gate's inner half brings; [`authorize`] is the one table of who may do what; [`reads`] answer
//! from the cache or a slave; [`writes`] go into a lane and wait to be visible; [`applier`] applies a lane by the
//! [`rules`], [`follower`] keeps the cache in step, [`relay`] carries on what an operation causes elsewhere, the
//! schedule does what is due at a time, and exports make the files that customers ask for.
pub mod admin;
pub mod applier;
pub mod authorize;
pub mod config;
mod day;
pub mod demo;
mod engines;
mod exports;
pub mod follower;
pub mod import;
pub mod keys;
mod lanes;
mod mover;
pub mod node;
pub mod operation;
pub mod reads;
pub mod relay;
pub mod rules;
mod schedule;
mod server;
mod sessions;
mod staff;
mod staff_revoked;
mod views;
mod visible;
pub mod writes;

pub use config::Config;
pub use server::{CenterError, run};
