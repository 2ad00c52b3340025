//! Tests of the simulated outside world and of the whole system.
mod sim;
