//! Both halves of a gate between an edge and a center that the tests play.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod confined;
mod files;
mod files_fetcher;
mod files_hostile;
mod files_kills;
mod files_outward;
mod files_outward_hostile;
mod files_resume;
mod files_sender;
mod files_trouble;
mod link;
mod messages;
mod pushes;
mod versions;
mod world;
