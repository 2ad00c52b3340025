//! The cluster's parts against real etcd members.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod client;
mod election;
mod folder;
mod history;
mod lanes;
mod leases;
mod servers;
mod table;
