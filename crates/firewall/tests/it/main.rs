//! Rules on real hosts: network namespaces, the real `nft`, real packets. Whatever is named `netns_` needs root.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod applied;
mod attack;
mod checked;
mod golden;
mod lab;
mod packet;
mod scan;
mod service;
