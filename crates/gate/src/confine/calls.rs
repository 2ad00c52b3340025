//! seccomp: the system calls a half can still make. All others fail with EPERM, on every thread, and the filter cannot be
//! taken off again.
//!
//! The lists say what is let through; docs/security.md says what that leaves out, and why. A call that is new to the kernel, or
//! of another numbering of the same processor, is on no list.
use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::ConfineError;

/// Memory, threads, time, waiting, and the process's own end.
const RUN: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_geteuid,
    libc::SYS_sched_yield,
    libc::SYS_setpriority,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What is done with descriptors that are there. Not `recvmsg`, by which another process could hand this one its sockets,
/// and not `sendmsg`, by which this one could hand out its own.
const DESCRIPTORS: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
];

/// What is done with files, by a half that keeps some.
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_ftruncate,
    libc::SYS_fadvise64,
    libc::SYS_fchmod,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
];

/// The older calls by which the C library still does some of the above on this processor.
#[cfg(target_arch = "x86_64")]
const OLDER: (&[c_long], &[c_long]) =
    (&[libc::SYS_epoll_wait, libc::SYS_poll], &[libc::SYS_rename, libc::SYS_unlink]);
#[cfg(target_arch = "aarch64")]
const OLDER: (&[c_long], &[c_long]) = (&[], &[libc::SYS_renameat]);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: (&[c_long], &[c_long]) = (&[], &[]);

/// New namespaces of any kind.
const CLONE_NEW: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// What a half calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls {
    /// Whether it makes sockets, Unix ones, and connects them.
    pub(super) connects: bool,
    /// Whether it opens files.
    pub(super) files: bool,
}

/// Puts the filters on every thread of this process.
pub(super) fn filter(calls: Calls) -> Result<(), ConfineError> {
    programs(calls)?.iter().try_for_each(|program| Ok(apply_filter_all_threads(program)?))
}

/// Two, of which the stricter decides.
fn programs(calls: Calls) -> Result<[BpfProgram; 2], ConfineError> {
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    // The C library starts threads by `clone3` unless there is none, and then by `clone`, whose flags can be looked at.
    let missing = SeccompAction::Errno(libc::ENOSYS as u32);
    Ok([
        program(BTreeMap::from([(libc::SYS_clone3, vec![])]), SeccompAction::Allow, missing)?,
        program(allowed(calls)?, denied, SeccompAction::Allow)?,
    ])
}

fn program(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    others: SeccompAction,
    these: SeccompAction,
) -> Result<BpfProgram, ConfineError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, others, these, arch)?.try_into()?)
}

/// The calls that are let through, and with which arguments: any rule of a call's list will do, and none is asked for where the
/// list is empty.
fn allowed(calls: Calls) -> Result<BTreeMap<c_long, Vec<SeccompRule>>, ConfineError> {
    let mut any: Vec<&[c_long]> = vec![RUN, DESCRIPTORS, OLDER.0, &[libc::SYS_clone3]];
    let unix = || [is(0, libc::AF_UNIX)];
    let mut rules = BTreeMap::from([
        // No memory becomes code.
        (libc::SYS_mmap, one_of([has_none(2, libc::PROT_EXEC)])?),
        (libc::SYS_mprotect, one_of([has_none(2, libc::PROT_EXEC)])?),
        // Threads, no processes.
        (libc::SYS_clone, one_of([masked(0, libc::CLONE_THREAD | CLONE_NEW, libc::CLONE_THREAD)])?),
        // Names of threads and of memory.
        (libc::SYS_prctl, one_of([is(0, libc::PR_SET_NAME), is(0, libc::PR_SET_VMA)])?),
        // Its own end by abort().
        (libc::SYS_tgkill, one_of([is(0, std::process::id().cast_signed())])?),
        (libc::SYS_ioctl, one_of([is(1, libc::FIONBIO as libc::c_int)])?),
        (
            libc::SYS_fcntl,
            one_of(
                [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC]
                    .map(|command| is(1, command)),
            )?,
        ),
        // The runtime wakes itself over a pair when a signal comes.
        (libc::SYS_socketpair, one_of(unix())?),
        // To where the socket is connected, nowhere else.
        (libc::SYS_sendto, one_of([Condition::new(4, Len::Qword, Op::Eq, 0)])?),
    ]);
    if calls.connects {
        rules.insert(libc::SYS_socket, one_of(unix())?);
        any.push(&[libc::SYS_connect]);
    }
    if calls.files {
        any.extend([FILES, OLDER.1]);
    }
    rules.extend(any.concat().into_iter().map(|call| (call, vec![])));
    Ok(rules)
}

type Made = Result<Condition, seccompiler::BackendError>;

fn one_of(conditions: impl IntoIterator<Item = Made>) -> Result<Vec<SeccompRule>, ConfineError> {
    conditions.into_iter().map(|condition| Ok(SeccompRule::new(vec![condition?])?)).collect()
}

/// Argument `number` is `value`.
fn is(number: u8, value: libc::c_int) -> Made {
    Condition::new(number, Len::Dword, Op::Eq, u64::from(value.cast_unsigned()))
}

/// Of argument `number`, none of these bits is set.
fn has_none(number: u8, bits: libc::c_int) -> Made {
    masked(number, bits, 0)
}

/// Of argument `number`, the bits of `mask` are those of `value`.
fn masked(number: u8, mask: libc::c_int, value: libc::c_int) -> Made {
    Condition::new(
        number,
        Len::Dword,
        Op::MaskedEq(u64::from(mask.cast_unsigned())),
        u64::from(value.cast_unsigned()),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seccompiler::sock_filter;

    use super::*;

    const OUTER: Calls = Calls { connects: false, files: false };
    const INNER: Calls = Calls { connects: true, files: true };

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    /// What the kernel would make of a call: seccomp(2)'s data, run through both programs.
    fn outcome(calls: Calls, call: c_long, arguments: [u64; 6]) -> u32 {
        let mut data = u32::try_from(call).unwrap().to_ne_bytes().to_vec();
        let arch: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        data.extend(arch.to_ne_bytes());
        data.extend([0; 8]);
        data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
        let outcomes = programs(calls).unwrap().map(|program| run(&program, &data));
        // An error is stricter than to allow; they disagree in nothing else here.
        outcomes.into_iter().find(|outcome| *outcome != ALLOW).unwrap_or(ALLOW)
    }

    /// The few instructions of classic BPF that a filter is made of.
    fn run(program: &[sock_filter], data: &[u8]) -> u32 {
        let (mut at, mut loaded) = (0, 0u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let mut jump = |is_so: bool| at += usize::from(if is_so { jt } else { jf });
            match code {
                0x20 => loaded = u32::from_ne_bytes(data[k as usize..][..4].try_into().unwrap()),
                0x54 => loaded &= k,
                0x05 => at += k as usize,
                0x15 => jump(loaded == k),
                0x25 => jump(loaded > k),
                0x35 => jump(loaded >= k),
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn socket(calls: Calls, family: libc::c_int) -> u32 {
        outcome(calls, libc::SYS_socket, [u64::from(family.cast_unsigned()), 1, 0, 0, 0, 0])
    }

    #[test]
    fn only_the_inner_half_makes_sockets_and_only_unix_ones() {
        for family in 0..50 {
            assert_eq!(socket(OUTER, family), EPERM);
            assert_eq!(
                socket(INNER, family),
                if family == libc::AF_UNIX { ALLOW } else { EPERM },
                "{family}"
            );
            let pair =
                outcome(OUTER, libc::SYS_socketpair, [u64::from(family.cast_unsigned()), 1, 0, 0, 0, 0]);
            assert_eq!(pair, if family == libc::AF_UNIX { ALLOW } else { EPERM }, "{family}");
        }
        // The kernel reads 32 bits of it.
        assert_eq!(outcome(INNER, libc::SYS_socket, [1 << 32 | 2, 1, 0, 0, 0, 0]), EPERM);
        assert_eq!(outcome(OUTER, libc::SYS_connect, [3; 6]), EPERM);
        assert_eq!(outcome(OUTER, libc::SYS_openat, [3; 6]), EPERM);
        for calls in [OUTER, INNER] {
            let there = [3, 0, 5, 0, 0xdead, 16];
            assert_eq!(outcome(calls, libc::SYS_sendto, there), EPERM);
            assert_eq!(outcome(calls, libc::SYS_sendto, [3, 0, 5, 0, 0, 0]), ALLOW);
        }
    }

    #[test]
    fn threads_but_no_processes_and_no_namespaces() {
        let thread = [
            libc::CLONE_VM,
            libc::CLONE_FS,
            libc::CLONE_FILES,
            libc::CLONE_SIGHAND,
            libc::CLONE_THREAD,
            libc::CLONE_SYSVSEM,
            libc::CLONE_SETTLS,
            libc::CLONE_PARENT_SETTID,
            libc::CLONE_CHILD_CLEARTID,
        ];
        let flags = u64::from(thread.into_iter().fold(0, |all, flag| all | flag).cast_unsigned());
        let clone = |flags| outcome(INNER, libc::SYS_clone, [flags, 0, 0, 0, 0, 0]);
        assert_eq!(clone(flags), ALLOW);
        assert_eq!(clone(u64::from(libc::SIGCHLD.cast_unsigned())), EPERM);
        for bit in 0..32 {
            let new = CLONE_NEW.cast_unsigned() & (1 << bit);
            if new != 0 {
                assert_eq!(clone(flags | u64::from(new)), EPERM, "{new:#x}");
            }
        }
        assert_eq!(outcome(INNER, libc::SYS_clone3, [0; 6]), ENOSYS);
    }

    #[test]
    fn memory_does_not_become_code() {
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            for prot in 0..16 {
                let is_code = prot & libc::PROT_EXEC as u64 != 0;
                let expected = if is_code { EPERM } else { ALLOW };
                assert_eq!(outcome(INNER, call, [0, 4096, prot, 0x22, 0, 0]), expected, "{prot}");
            }
        }
    }

    #[test]
    fn what_is_on_no_list_is_denied() {
        let named = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_recvmsg,
            libc::SYS_recvmmsg,
            libc::SYS_sendmsg,
            libc::SYS_sendmmsg,
            libc::SYS_pidfd_getfd,
            libc::SYS_pidfd_open,
            libc::SYS_io_uring_setup,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_kill,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_fsopen,
            libc::SYS_open_tree,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_open_by_handle_at,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_userfaultfd,
            libc::SYS_memfd_create,
            libc::SYS_pkey_mprotect,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_kexec_load,
            libc::SYS_reboot,
            libc::SYS_setuid,
            libc::SYS_setresuid,
            libc::SYS_capset,
            libc::SYS_seccomp,
            libc::SYS_personality,
            libc::SYS_shmat,
            libc::SYS_ioctl,
            libc::SYS_prctl,
            libc::SYS_tgkill,
        ];
        for call in named {
            for calls in [OUTER, INNER] {
                assert_eq!(outcome(calls, call, [u64::MAX; 6]), EPERM, "{call}");
            }
        }
    }

    proptest! {
        /// Numbers that are not given out yet, and those of another numbering of the same processor (x32), included.
        #[test]
        fn whatever_is_called_is_on_a_list_or_denied(call in 0..600 as c_long, x32 in any::<bool>(), arguments: [u64; 6]) {
            for calls in [OUTER, INNER] {
                let is_listed = allowed(calls).unwrap().contains_key(&call);
                let call = if x32 { call | 0x4000_0000 } else { call };
                if !is_listed || x32 {
                    prop_assert_eq!(outcome(calls, call, arguments), EPERM);
                }
            }
        }
    }
}
