//! Gives up IP sockets for good: a half of the gate that was taken over cannot become a bridge.
//!
//! A seccomp filter on every thread of the process makes `socket(2)` fail with EPERM for every family but Unix, and
//! `io_uring_setup(2)` with it, because a ring can open sockets past the filter. The filter cannot be taken off again.
use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// Why the filter could not be put on.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// No filter for this processor, or one that the library refuses.
    #[error("no filter can be made: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// The kernel refused it.
    #[error("the kernel refused the filter: {0}")]
    Kernel(#[from] seccompiler::Error),
}

/// Forbids this process, all its threads and all its children to open sockets other than Unix ones.
pub(crate) fn forbid_ip_sockets() -> Result<(), ConfineError> {
    seccompiler::apply_filter_all_threads(&program()?)?;
    Ok(())
}

fn program() -> Result<BpfProgram, ConfineError> {
    let other_family =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?;
    let mut rules = BTreeMap::from([
        (libc::SYS_socket, vec![SeccompRule::new(vec![other_family])?]),
        (libc::SYS_io_uring_setup, vec![]),
    ]);
    // The x32 numbers of the same calls pass as this architecture (seccomp(2), caveats).
    if cfg!(target_arch = "x86_64") {
        const X32: libc::c_long = 0x4000_0000;
        rules.insert(X32 | libc::SYS_socket, vec![]);
        rules.insert(X32 | libc::SYS_io_uring_setup, vec![]);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch)?;
    Ok(filter.try_into()?)
}
