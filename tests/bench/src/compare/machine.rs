//! Where and how figures were measured: the lines on top of every file of results.

use std::env;
use std::fs;
use std::process::Command;

/// The header of a file of results.
pub(crate) fn header(what: &str) -> Vec<String> {
    let mut lines = vec![
        format!("genesis-mem-bench: {what}"),
        format!("date: {}", output_of("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        format!("machine: {}", machine()),
        format!("kernel: {}", output_of("uname", &["-srm"])),
        format!(
            "transparent huge pages: {}",
            chosen("/sys/kernel/mm/transparent_hugepage/enabled")
        ),
        format!("libc: {}", output_of("getconf", &["GNU_LIBC_VERSION"])),
        format!("compiler: {}", output_of("rustc", &["--version"])),
        format!("crates: {}", crates()),
        format!("packages: {}", packages(&["libjemalloc2", "libtcmalloc-minimal4"])),
        format!("load before: {}", first_line("/proc/loadavg")),
    ];
    let arguments: Vec<String> = env::args().skip(1).collect();
    lines.push(format!("command: compare {}", arguments.join(" ")));
    lines
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("unknown processor", |it| it.1);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("0 kB");
    let kib: u64 = kib.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    format!("{model}, {cores} cores, {} GiB", kib.div_ceil(1 << 20))
}

/// The versions of the rivals' crates, from the lock file that this binary was built with.
fn crates() -> String {
    const RIVALS: [&str; 4] = ["mimalloc", "snmalloc-rs", "rpmalloc", "tikv-jemallocator"];
    let lock = include_str!("../../Cargo.lock");
    let version = |name: &str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", rest.split('"').next()?))
    };
    RIVALS.iter().filter_map(|name| version(name)).collect::<Vec<_>>().join(", ")
}

/// The versions of Debian's packages, as far as they are installed.
pub(crate) fn packages(names: &[&str]) -> String {
    let version = |name: &&str| {
        let version = output_of("dpkg-query", &["-W", "-f", "${Version}", name]);
        format!("{name} {version}")
    };
    names.iter().map(version).collect::<Vec<_>>().join(", ")
}

/// The word in brackets, as the kernel marks the choice that is in force.
fn chosen(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let word = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    word.map_or("unknown", |it| it.0).to_owned()
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".into())
}
