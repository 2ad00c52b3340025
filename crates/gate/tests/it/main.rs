//! Both halves of a gate between an edge and a center that the tests play.
mod confined;
mod link;
mod messages;
mod pushes;
mod world;
