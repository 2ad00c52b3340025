//! Stores, lanes and caches: one suite for every backend, and what only the one or the other can be
//! asked.
#![allow(clippy::unwrap_used)]
mod commits;
mod embedded;
mod faults;
mod gapless;
mod kill;
mod nats;
mod suite;
mod system;

backend_suite!(on_sqlite, crate::embedded::Embedded);

mod nats_lanes {
    crate::backend_suite!(queue of crate::nats::Alone);
}
