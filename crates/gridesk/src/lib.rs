//! Gridesk on one machine, and the operator's command line.
//!
//! `gridesk up` runs every zone's program as a child process of one; `gridesk sim` is the outside world that a newcomer,
//! the tour and the tests need. That all zones are linked into one binary is a convenience: the security boundary is the
//! zones' own binaries on their own hosts.
pub mod bench;
pub mod check;
pub mod cli;
pub mod describe;
pub mod gate_status;
pub mod import;
pub mod operate;
pub mod role;
pub mod shard;
pub mod sim;
pub mod staff;
pub mod store;
pub mod tour;
pub mod unix_http;
pub mod up;
