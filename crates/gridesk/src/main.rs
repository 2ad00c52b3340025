//! The `gridesk` program.
fn main() {}
