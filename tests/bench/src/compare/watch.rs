//! Runs a program to its end and tells what it took, its exact peak memory included.
//!
//! The peak is read from `/proc` at the moment of exit, where the kernel stops a traced process;
//! polling would miss what a program does last, and `ru_maxrss` carries over the parent's.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::ptr;
use std::time::Instant;

use genesis_mem_bench::meter;

use crate::child;

/// What a program took, its finished children's time included.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) cpu_ns: u64,
    pub(crate) wall_ns: u64,
    pub(crate) minor_faults: u64,
    pub(crate) peak_kib: u64,
}

/// Runs `command`, whose time is limited.
///
/// # Errors
/// When it cannot be started or traced.
pub(crate) fn run(mut command: Command) -> io::Result<Outcome> {
    child::limit_time(&mut command);
    // SAFETY: `ptrace` is a system call and nothing else, safe between fork and exec.
    unsafe {
        command.pre_exec(|| ptrace(libc::PTRACE_TRACEME, 0, 0));
    }
    let clock = Instant::now();
    let process = command.spawn()?.id() as libc::pid_t;
    let mut peak_kib = 0;
    let mut options_set = false;
    loop {
        let (status, usage) = wait(process)?;
        if !libc::WIFSTOPPED(status) {
            return Ok(Outcome {
                status: ExitStatus::from_raw(status),
                cpu_ns: meter::cpu_ns(&usage),
                wall_ns: clock.elapsed().as_nanos() as u64,
                minor_faults: usage.ru_minflt as u64,
                peak_kib,
            });
        }
        if !options_set {
            let options = libc::PTRACE_O_TRACEEXIT | libc::PTRACE_O_EXITKILL;
            ptrace(libc::PTRACE_SETOPTIONS, process, options)?;
            options_set = true;
        }
        if status >> 16 == libc::PTRACE_EVENT_EXIT {
            peak_kib = meter::peak_kib(&process.to_string()).unwrap_or(0);
        }
        // A trap is the tracer's own doing, at exec; every other signal is the program's.
        let signal = libc::WSTOPSIG(status);
        ptrace(libc::PTRACE_CONT, process, if signal == libc::SIGTRAP { 0 } else { signal })?;
    }
}

fn wait(process: libc::pid_t) -> io::Result<(libc::c_int, libc::rusage)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: both pointers are valid for writes.
    match unsafe { libc::wait4(process, &raw mut status, libc::__WALL, usage.as_mut_ptr()) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the call succeeded, so it filled the struct.
        _ => Ok((status, unsafe { usage.assume_init() })),
    }
}

fn ptrace(request: libc::c_uint, process: libc::pid_t, data: libc::c_int) -> io::Result<()> {
    // SAFETY: none of the requests made here reads or writes this process's memory.
    match unsafe { libc::ptrace(request, process, ptr::null_mut::<u8>(), i64::from(data)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Outcome {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(command).expect("a shell can be run")
    }

    #[test]
    fn a_program_runs_to_its_end_and_tells_its_peak() {
        let outcome = shell("exit 3");
        assert_eq!(outcome.status.code(), Some(3));
        assert!((200..50_000).contains(&outcome.peak_kib), "{outcome:?}");
        assert!(outcome.wall_ns > outcome.cpu_ns / 4, "{outcome:?}");
    }

    #[test]
    fn signals_reach_the_program() {
        assert_eq!(shell("trap 'exit 7' USR1; kill -USR1 $$; exit 1").status.code(), Some(7));
        assert_eq!(shell("kill -KILL $$").status.signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn a_program_that_becomes_another_is_watched_on() {
        let outcome = shell("exec /bin/sh -c 'exit 5'");
        assert_eq!(outcome.status.code(), Some(5));
        assert!(outcome.peak_kib > 0, "{outcome:?}");
    }
}
