//! The platform's programs as an operator starts them, with real etcd members.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod platform;
#[expect(dead_code, reason = "the rest is for the cluster's own tests")]
#[path = "../../../cluster/tests/it/servers.rs"]
mod servers;
