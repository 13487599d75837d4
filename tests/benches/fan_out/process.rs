//! What Linux says of a process and of the machine.

use std::{fs, process};

/// Nanoseconds that all threads of a process spent on a CPU.
pub(crate) fn cpu_time(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let spent = |path| fs::read_to_string(path).ok().and_then(|text| number(&text, 0));
    threads.flatten().filter_map(|thread| spent(thread.path().join("schedstat"))).sum()
}

/// The same of this process.
pub(crate) fn own_cpu_time() -> u64 {
    cpu_time(process::id())
}

/// Nanoseconds that all CPUs were busy.
pub(crate) fn machine_cpu_time() -> u64 {
    const TICK: u64 = 10_000_000;
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    // cpu user nice system idle iowait irq softirq
    [1, 2, 3, 6, 7].iter().filter_map(|place| number(&text, *place)).sum::<u64>() * TICK
}

/// Bytes of memory that a process has resident.
pub(crate) fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap_or_default();
    number(line, 1).unwrap_or(0) * 1_024
}

/// Has this thread, and the processes that it starts from now on, run on one CPU; does nothing where there is no such.
#[cfg(target_os = "linux")]
pub(crate) fn run_on(cpu: usize) {
    use rustix::thread::{CpuSet, sched_setaffinity};

    let mut set = CpuSet::new();
    set.set(cpu);
    let _ = sched_setaffinity(None, &set);
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run_on(_: usize) {}

/// Lets this process, and those that it starts, have as many files open as they ever may; yields how many.
#[cfg(unix)]
pub(crate) fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(not(unix))]
pub(crate) fn raise_open_files() -> u64 {
    u64::MAX
}

fn number(text: &str, place: usize) -> Option<u64> {
    text.split_whitespace().nth(place)?.parse().ok()
}
