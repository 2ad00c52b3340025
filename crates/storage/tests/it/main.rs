//! Stores, lanes and caches: one suite for every backend, and what only the one or the other can be
//! asked.
#![allow(clippy::unwrap_used)]
mod commits;
mod embedded;
mod faults;
mod gapless;
mod kill;
mod moves;
mod nats;
mod postgres;
mod redis_room;
mod suite;
mod system;

backend_suite!(on_sqlite, crate::embedded::Embedded);

backend_suite!(together postgres_store_does_what_every_store_does, crate::postgres::OneMaster);
mod nats_lanes {
    crate::backend_suite!(queue of crate::nats::Alone);
}
cache_suite!(in_memory, crate::embedded::InMemory);
cache_suite!(redis_shared, crate::redis_room::Room);
