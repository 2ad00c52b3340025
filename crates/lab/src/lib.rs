//! The engines that Gridesk's cluster stands on, on one machine: PostgreSQL masters with their slaves, NATS, Redis, etcd.
//!
//! For development only. Tests take what they need of it as a dev-dependency, `lab up` starts all of it. The engines are
//! the installed ones, each a child process with a folder of its own, on free ports of 127.0.0.1, and each can be hurt:
//! killed, frozen, made to lag, set up anew.
//!
//! - Everything here blocks, seldom for more than a few seconds and never without end; from async code call it where
//!   that does no harm, or through `spawn_blocking`.
//! - Dropping a value kills its processes at once; `stop` ends them in order. They also end with the process that
//!   started them, however that ends. The data stays, until its folder is removed.
//! - As root, PostgreSQL runs as the user `postgres`. Folders on the way to its data must let others pass; those below
//!   the system's folder for temporary files are opened for that (mode `+x`).

pub mod cluster;
pub mod engine;
pub mod etcd;
pub mod nats;
pub mod postgres;
pub mod redis;
pub mod running;

mod folder;
mod port;
mod process;
mod program;

pub use cluster::{Cluster, Shape};
