//! What the programs of the intranet agree on: who works on which lane, under which epoch, and who leads.
//!
//! Begin reading at [`Coordinator`], a node's part in it. The management platform decides by [`assign::assign`] and writes as the
//! one that [`election`] made the leader. On the cluster profile all of it is kept in [`etcd`]; on the embedded profile the
//! folder's lock stands for it.
//!
//! ```text
//! PREFIX/nodes/{node}          a node's registration        under the node's lease
//! PREFIX/lanes/{lane}/owner    who works on the lane        under the node's lease; its create revision is the epoch
//! PREFIX/orders/{lane}         where a lane is to move, and how far that is
//! PREFIX/control/leader        who leads                    under the leader's lease; its create revision is the fence
//! PREFIX/table                 the routing table            written by the leader, under its fence
//! ```
pub mod assign;
mod claim;
mod coordinator;
pub mod election;
pub mod etcd;
mod folder;
mod follow;
mod keys;
mod lane;
pub mod lease;
mod node;
pub mod orders;
mod owners;
mod settings;

pub use claim::ClaimError;
pub use coordinator::{Coordinator, Membership, TakeError};
pub use folder::Folder;
pub use follow::{TableFollower, read_table};
pub use keys::Keys;
pub use lane::LaneLease;
pub use node::EtcdNode;
pub use settings::ClusterSettings;
