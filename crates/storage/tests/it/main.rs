//! Stores, lanes and caches: one suite for every backend, and what only the embedded one can be asked.
#![allow(clippy::unwrap_used)]
mod commits;
mod embedded;
mod faults;
mod kill;
mod redis_room;
mod suite;
mod system;

backend_suite!(on_sqlite, crate::embedded::Embedded);
cache_suite!(in_memory, crate::embedded::InMemory);
cache_suite!(redis_shared, crate::redis_room::Room);
