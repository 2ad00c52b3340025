//! The engines as they really are: started, hurt, started again. Each test has a folder of its own.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]
mod cluster;
mod engines;
mod postgres;
mod processes;
