//! What every long-running program of Gridesk needs and none should write twice.
//!
//! A program's `main` reads as a list: [`config::load`] its settings, [`telemetry::init`] its logs,
//! [`lock::FolderLock`] its folder, [`shutdown::Shutdown`] for an orderly end, [`health`] on an inside port, then its own
//! work. Nothing here knows a zone, an operation or a store.

pub mod background;
pub mod boottime;
pub mod clock;
pub mod config;
pub mod durable;
pub mod heads;
pub mod health;
pub mod lock;
pub mod metrics;
pub mod mux;
pub mod peers;
pub mod secret;
pub mod shrink;
pub mod shutdown;
pub mod supervise;
pub mod telemetry;
pub mod unix;

/// Requests are many small allocations made on one thread and freed on another, which this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
