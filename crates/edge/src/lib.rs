//! The application server of the extranet.
//!
//! It takes what customers and channels send, shapes it into operations and asks inside through a gate; it delivers
//! what comes outward. It holds no business data and decides nothing about money or rights: what it knows to refuse is
//! only what the center would refuse as well.
pub mod config;
pub mod inward;
pub mod portal;
