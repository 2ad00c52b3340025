//! Both halves of a gate between an edge and a center that the tests play.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod confined;
mod link;
mod messages;
mod pushes;
mod world;
