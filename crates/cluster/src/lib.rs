//! What the programs of the intranet agree on: who works on which lane, under which epoch, and who leads.
pub mod boottime;
pub mod etcd;
