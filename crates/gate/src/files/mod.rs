//! The file track: files from the edges' disks into the intranet's store, and files that the center made out to the edges.
//!
//! ```text
//! edge ── FileOffer ──► relay ═══► receive ── quarantine ─ inspection ─ store ── attach ──► center
//! edge ── FileFetch ──► fetch ═══► give ── the folder of files for outside
//! ```
//! What holds always:
//! - nothing is visible in the store before all of it is there, durably, has the hash it was offered with, and passed the
//!   inspection ([`store`]);
//! - what a crash leaves behind is either taken up where it was durable, or thrown away ([`quarantine`]);
//! - a file is attached by its own id, so that it is attached once, however often it is offered ([`attach`]);
//! - a file goes out only for the center's signed ticket, which the inner half verifies before it opens anything ([`give`]);
//! - a name from outside is never part of a path: a file is called by its id, its content by its hash.
mod attach;
mod coming;
mod counted;
mod fetch;
mod give;
mod growing;
mod inspection;
mod pieces;
mod pool;
mod quarantine;
mod receive;
mod relay;
mod store;
mod stream;

#[cfg(test)]
#[path = "../../../protocol/tests/it/corpus.rs"]
mod corpus;
#[cfg(test)]
#[path = "../../fuzz/harness.rs"]
mod harness;

pub use quarantine::hashes_on_their_way;
pub use receive::ReceiveConfig;
pub(crate) use receive::{Folders, Receiver};
pub(crate) use relay::Relay;
pub use relay::RelayConfig;
