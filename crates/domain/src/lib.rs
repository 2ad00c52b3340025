//! The power-customer domain: money, energy, tariffs, billing, the ledger, meter readings.
//!
//! Everything here is a function over values. Nothing reads a clock, a file or a socket, so that every rule can
//! be tested by itself and gives the same answer on every node.
pub mod billing;
pub mod calendar;
pub mod capitals;
pub mod demo;
pub mod forms;
pub mod green_button;
pub mod late_fee;
pub mod ledger;
pub mod money;
pub mod profile;
pub mod readings;
pub mod schema;
pub mod tariff;
pub mod usage;
pub mod usage_csv;
