//! Real programs on the library: their output is the same as without it.
//!
//! A program that is not installed is named and skipped.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::common::{is_installed, library, preloaded, run, scratch, text};

/// Whether all programs are there; names those that are not.
fn are_installed(names: &[&str]) -> bool {
    let missing: Vec<_> = names.iter().filter(|name| !is_installed(name)).collect();
    if !missing.is_empty() {
        println!("skipped: not installed: {missing:?}");
    }
    missing.is_empty()
}

/// Runs `command` without the library and with it, in `folder`, and compares all they print.
fn compare(folder: &Path, command: &[&str], input: &str) -> Output {
    let build = |mut program: Command| {
        program.args(&command[1..]).current_dir(folder).env("LC_ALL", "C");
        run(&mut program, input.as_bytes())
    };
    let without = build(Command::new(command[0]));
    assert!(without.status.success(), "without the library: {command:?}: {}", text(&without));
    let with = build(preloaded(command[0]));
    assert_eq!(text(&with), text(&without), "{command:?}");
    with
}

/// Runs a command that must succeed on the library.
fn succeed(folder: &Path, command: &[&str]) -> Output {
    let output = run(preloaded(command[0]).args(&command[1..]).current_dir(folder), b"");
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    output
}

/// Fails where the library was not in use: a test of nothing.
#[test]
fn the_library_is_in_use() {
    let folder = scratch();
    let file = folder.path().join("stats.json");
    let output = run(preloaded("ls").arg("/").env("GENESIS_MEM_STATS_FILE", &file), b"");
    assert!(output.status.success(), "{}", text(&output));
    assert!(fs::read_to_string(file).unwrap().contains("\"allocations\":"));
}

const PYTHON: &str = r#"
import json, multiprocessing, os, sqlite3, subprocess, threading

data = {"n": list(range(20000)), "s": ["x" * (i % 300) for i in range(20000)]}
text = json.dumps(data)
assert json.loads(text) == data
print(len(text))

database = sqlite3.connect(":memory:")
database.execute("create table t (n integer, s text)")
database.executemany("insert into t values (?, ?)", ((i, "y" * (i % 500)) for i in range(30000)))
database.execute("create index i on t (s, n)")
print(database.execute("select count(*), sum(length(s)), max(n) from t where s > 'yyy'").fetchall())

total, lock = 0, threading.Lock()
def work(seed):
    global total
    keep = []
    for i in range(20000):
        keep.append(bytearray((seed * 7919 + i * 31) % 5000))
        if len(keep) > 200:
            keep.pop(i % 200)
    with lock:
        total += sum(map(len, keep))
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for thread in threads: thread.start()
# Forks while the threads allocate; the child goes on allocating.
for n in range(20):
    child = os.fork()
    if child == 0:
        more = [bytearray(i % 9000) for i in range(5000)]
        os._exit(len(more) % 251)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5000 % 251
for thread in threads: thread.join()
print(total)

def square(n): return sum(k * k for k in range(n))
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(4) as pool:
        print(sum(pool.map(square, range(300))))
    print(subprocess.run(["echo", "hello"], capture_output=True).stdout)
"#;

#[test]
fn python() {
    if are_installed(&["python3"]) {
        let folder = scratch();
        fs::write(folder.path().join("main.py"), PYTHON).unwrap();
        compare(folder.path(), &["python3", "main.py"], "");
    }
}

const NODE: &str = r"
const zlib = require('zlib'), { Worker, isMainThread, parentPort } = require('worker_threads');
if (isMainThread) {
    const map = new Map();
    for (let i = 0; i < 200000; i++) map.set('key' + i, { i, s: 'v'.repeat(i % 50) });
    console.log(JSON.stringify([...map.values()]).length);
    const packed = zlib.gzipSync(Buffer.alloc(3000000, 'abcdefg'));
    console.log(packed.length > 0, zlib.gunzipSync(packed).length);
    let sum = 0, left = 4;
    for (let n = 0; n < 4; n++)
        new Worker(__filename).on('message', m => { sum += m; if (--left == 0) console.log(sum); });
} else {
    let n = 0;
    for (let i = 0; i < 2000; i++) n += Buffer.alloc(i * 10, 1).reduce((a, b) => a + b, 0);
    parentPort.postMessage(n);
}
";

#[test]
fn node() {
    if are_installed(&["node"]) {
        let folder = scratch();
        fs::write(folder.path().join("main.js"), NODE).unwrap();
        compare(folder.path(), &["node", "main.js"], "");
    }
}

const PERL: &str = r#"
my %count;
for my $i (1 .. 200000) { $count{ ($i * 7919) % 5003 } .= chr(65 + $i % 26) }
my $all = join ",", map { "$_=" . length $count{$_} } sort { $a <=> $b } keys %count;
$all =~ s/(\d+)=(\d+)/$2:$1/g;
print length($all), " ", substr($all, 0, 60), "\n";
my $child = fork();
if ($child == 0) { my @list = map { "x" x $_ } 1 .. 3000; exit(scalar(@list) % 200) }
waitpid $child, 0;
print $? >> 8, "\n";
"#;

#[test]
fn perl() {
    if are_installed(&["perl"]) {
        compare(scratch().path(), &["perl", "-"], PERL);
    }
}

#[test]
fn lua() {
    if are_installed(&["lua5.4"]) {
        let program = "local t = {} for i = 1, 300000 do t[i % 5000] = ('x'):rep(i % 400) end \
                       local n = 0 for _, s in pairs(t) do n = n + #s end print(n)";
        compare(scratch().path(), &["lua5.4", "-"], program);
    }
}

#[test]
fn sqlite() {
    if are_installed(&["sqlite3"]) {
        let program = "create table t as with recursive c(n) as (select 1 union all select n + 1 \
                       from c limit 100000) select n, hex(zeroblob(n % 300)) s from c;\n\
                       create index i on t(s, n);\n\
                       select count(*), sum(length(s)), count(distinct s) from t;\n";
        compare(
            scratch().path(),
            &["sqlite3", "file.db"],
            &format!("drop table if exists t;{program}"),
        );
    }
}

const C: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";
const CPP: &str = r#"
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <thread>
#include <vector>
struct alignas(256) Wide { char bytes[256]; };
int main() {
    std::map<std::string, std::vector<int>> map;
    for (int i = 0; i < 100000; i++) map["key" + std::to_string(i % 999)].push_back(i);
    std::vector<std::thread> threads;
    std::vector<size_t> sums(8);
    for (int n = 0; n < 8; n++) threads.emplace_back([&sums, n] {
        for (int i = 0; i < 20000; i++) {
            auto wide = std::make_unique<Wide>();
            if (reinterpret_cast<size_t>(wide.get()) % 256) std::abort();
            sums[n] += std::string(i % 700, 'x').size();
        }
    });
    for (auto &thread : threads) thread.join();
    std::regex words("[a-z]+[0-9]{2}");
    size_t hits = std::count_if(map.begin(), map.end(),
        [&](auto &pair) { return std::regex_match(pair.first, words); });
    try { std::vector<char> all(size_t(-1) / 4); }
    catch (const std::bad_alloc &) { std::cout << "no memory\n"; }
    std::cout << map.size() << ' ' << hits << ' ' << sums[0] + sums[7] << '\n';
}
"#;

/// The compiler runs on the library and writes the same assembly; what it links runs on it as well.
fn compiler(compiler: &str, name: &str, source: &str) {
    if !are_installed(&[compiler]) {
        return;
    }
    let folder = scratch();
    fs::write(folder.path().join(name), source).unwrap();
    compare(folder.path(), &[compiler, "-O2", "-S", "-o", "-", name], "");
    succeed(folder.path(), &[compiler, "-O2", "-pthread", "-o", "program", name]);
    let program = folder.path().join("program");
    compare(folder.path(), &[program.to_str().unwrap()], "");
}

#[test]
fn gcc() {
    compiler("gcc", "main.c", C);
}

#[test]
fn gpp() {
    compiler("g++", "main.cpp", CPP);
}

const RUST: &str = r#"
use std::collections::BTreeMap;
fn main() {
    let mut map: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for n in 0..100_000u32 { map.entry((n % 977).to_string()).or_default().push(n); }
    let threads: Vec<_> = (0..4usize)
        .map(|t| std::thread::spawn(move || (0..20_000).map(|n| vec![t as u8; n % 3000].len()).sum::<usize>()))
        .collect();
    let sums: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    println!("{} {sums:?}", map.len());
}
"#;

#[test]
fn rustc() {
    if are_installed(&["rustc"]) {
        let folder = scratch();
        fs::write(folder.path().join("main.rs"), RUST).unwrap();
        let emit = ["rustc", "--edition", "2024", "-Copt-level=1", "--emit", "mir", "-o", "-"];
        compare(folder.path(), &[&emit[..], &["main.rs"]].concat(), "");
        succeed(folder.path(), &["rustc", "--edition", "2024", "-O", "main.rs"]);
        compare(folder.path(), &["./main"], "");
    }
}

#[test]
fn cargo() {
    if are_installed(&["cargo", "rustc"]) {
        let folder = scratch();
        fs::create_dir(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/main.rs"), RUST).unwrap();
        let manifest = "[package]\nname = \"small\"\nedition = \"2024\"\n[workspace]\n";
        fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
        let mut build = preloaded("cargo");
        // The cargo that runs this test says a lot to its children.
        build.args(["build", "--offline"]).current_dir(folder.path());
        build.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
        let output = run(&mut build, b"");
        assert!(output.status.success(), "{}", text(&output));
        compare(folder.path(), &["target/debug/small"], "");
    }
}

/// The same history twice, without the library and with it: the objects have the same names.
#[test]
fn git() {
    if !are_installed(&["git"]) {
        return;
    }
    let history = |preload: bool| {
        let folder = scratch();
        let git = |words: &[&str]| {
            let mut command = if preload { preloaded("git") } else { Command::new("git") };
            for role in ["AUTHOR", "COMMITTER"] {
                command
                    .env(format!("GIT_{role}_NAME"), "A")
                    .env(format!("GIT_{role}_EMAIL"), "a@b");
                command.env(format!("GIT_{role}_DATE"), "2001-02-03T04:05:06Z");
            }
            command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
            let output = run(command.args(words).current_dir(folder.path()), b"");
            assert!(output.status.success(), "git {words:?}: {}", text(&output));
            text(&output)
        };
        git(&["init", "-q", "-b", "main", "one"]);
        for n in 0..5 {
            for m in 0..40 {
                let line = format!("line {n} {m}\n").repeat(50 * (m + 1));
                fs::write(folder.path().join(format!("one/file-{m}")), line).unwrap();
            }
            git(&["-C", "one", "add", "."]);
            git(&["-C", "one", "commit", "-q", "-m", &format!("commit {n}")]);
        }
        git(&["-C", "one", "gc", "-q"]);
        git(&["clone", "-q", "one", "two"]);
        git(&["-C", "two", "fsck", "--full"]);
        let log = git(&["-C", "two", "log", "--stat"]);
        log + &git(&["-C", "two", "diff", "HEAD~2", "--", "file-3"])
    };
    assert_eq!(history(true), history(false));
}

/// A server that forks to save while clients write.
#[test]
fn redis() {
    if !are_installed(&["redis-server", "redis-benchmark", "redis-cli"]) {
        return;
    }
    let folder = scratch();
    let socket = folder.path().join("socket");
    let socket = socket.to_str().unwrap();
    let mut server = preloaded("redis-server");
    server.args(["--port", "0", "--save", "", "--unixsocket", socket, "--logfile", "log"]);
    let mut server = server.current_dir(folder.path()).spawn().unwrap();
    let cli = |words: &[&str]| {
        let output = run(preloaded("redis-cli").args(["-s", socket]).args(words), b"");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    wait_for("an answer", || cli(&["ping"]) == "PONG");
    let load = ["-n", "20000", "-q", "-r", "5000", "-d", "700", "-t", "set,get,lpush,lpop,sadd"];
    for save in [true, false] {
        if save {
            assert_eq!(cli(&["bgsave"]), "Background saving started");
        }
        let command = [&["redis-benchmark", "-s", socket], &load[..]].concat();
        succeed(folder.path(), &command);
    }
    wait_for("a save", || cli(&["info", "persistence"]).contains("rdb_bgsave_in_progress:0"));
    assert!(cli(&["info", "persistence"]).contains("rdb_last_bgsave_status:ok"));
    assert!(cli(&["dbsize"]).parse::<u32>().unwrap() > 1000);
    cli(&["shutdown", "nosave"]);
    let status = server.wait().unwrap();
    let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    assert!(status.success(), "{status}\n{log}");
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..300 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("waited 30 s for {what}");
}

/// A shell and its pipes.
#[test]
fn shell() {
    if are_installed(&["sh", "sort"]) {
        let input: String = (0..200_000u64).map(|n| format!("{}\n", n * 7919 % 100_003)).collect();
        let folder = scratch();
        compare(folder.path(), &["sh", "-c", "sort -n | uniq -c | sort -rn | head -50"], &input);
    }
}

/// The variable that the loader reads is the only thing that a program may see of the library.
#[test]
fn environment() {
    let output = run(preloaded("env").env_clear().env("LD_PRELOAD", library()), b"");
    let expected = format!("LD_PRELOAD={}\n", OsStr::new(library()).display());
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}
