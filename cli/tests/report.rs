//! `genesis-mem report` as a user types it, on recordings that an encoder writes.
#[path = "../../host/tests/common/encode.rs"]
mod encode;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use encode::{Encoder, Event, Header, Live, Usage, kind};
use serde_json::Value;

#[inline(never)]
fn fill_the_cache() -> u64 {
    std::hint::black_box(fill_the_cache as *const () as u64 + 4)
}

#[inline(never)]
fn read_the_options() -> u64 {
    std::hint::black_box(read_the_options as *const () as u64 + 4)
}

/// A recording of this program, in which one function holds `cache_blocks` blocks of 1,000 bytes,
/// and another holds one of 64 and has freed one.
fn recording(cache_blocks: u64, full: bool) -> Vec<u8> {
    let blocks = cache_blocks as f64;
    let usage =
        |stack, sums| Usage { memory: 0, stack, thread: 7, size_class: 10, sums, samples: 5 };
    let live = |number: u64, bytes, stack| Live {
        address: 0x10_0000 + number * 1024,
        bytes,
        block_bytes: 1024,
        time_ns: 1000 + number,
        stack,
        memory: 0,
        weight: 1.0,
    };
    let event = |number: u64| Event {
        time_ns: 1000 + number,
        address: 0x10_0000 + number * 1024,
        bytes: 1000,
        block_bytes: 1024,
        stack: 1,
        kind: 1,
        weight: 1.0,
    };
    let cache = (0..cache_blocks).map(|number| live(number, 1000, 1));
    let all: Vec<Live> = cache.chain([live(cache_blocks, 64, 2)]).collect();
    let events: Vec<Event> = (0..cache_blocks).map(event).collect();
    let header =
        Header { full, interval_bytes: 512 << 10, end_ns: 5_000_000_000, ..Header::default() };
    let bytes = cache_blocks * 1000 + 64;
    Encoder::new()
        .header(header, &["shop", "--serve"])
        .section(kind::MAPS, &fs::read("/proc/self/maps").unwrap())
        .stacks(&[(1, &[fill_the_cache()]), (2, &[read_the_options()])])
        .usages(&[
            usage(1, [blocks, 1000.0 * blocks, 0.0, 0.0, 0.0, 0.0]),
            usage(2, [2.0, 128.0, 1.0, 64.0, 1.0, 500.0]),
        ])
        .live(&all)
        .events(&events)
        .levels(&[[5_000_000_000, bytes, bytes, 1 << 20]])
        .end()
}

struct Folder(tempfile::TempDir);

impl Folder {
    /// With an older and a newer recording.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.path("old.1.genesis-mem"), recording(10, true)).unwrap();
        fs::write(folder.path("new.2.genesis-mem"), recording(50, true)).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn report(&self, name: &str, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_genesis-mem"));
        command.arg("report").arg(self.path(name)).args(words).output().unwrap()
    }

    fn text(&self, name: &str, words: &[&str]) -> String {
        let output = self.report(name, words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{words:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_summary_names_the_line() {
    let folder = Folder::new();
    let text = folder.text("new.2.genesis-mem", &[]);
    assert!(text.starts_with("shop --serve (every block)"), "{text}");
    let first = text.lines().skip_while(|line| !line.starts_with("Held now")).nth(1).unwrap();
    assert!(first.contains("48.8 KiB in       50 blocks  host"), "{first}");
    assert!(first.contains("tests/report.rs:"), "{first}");
    assert!(first.ends_with(", in report::fill_the_cache"), "{first}");
    fs::write(folder.path("sample.3.genesis-mem"), recording(50, false)).unwrap();
    let text = folder.text("sample.3.genesis-mem", &[]);
    assert!(text.contains("a sample each 512.0 KiB") && text.contains("from 10 samples"), "{text}");
}

#[test]
fn every_format_is_written_to_a_file() {
    let folder = Folder::new();
    for format in [
        "summary",
        "html",
        "pprof",
        "flame",
        "folded",
        "json",
        "timeline",
        "timeline-svg",
        "timeline-json",
        "chrome",
        "torch",
        "recording",
    ] {
        let out = folder.path(format);
        let out_name = out.to_str().unwrap();
        folder.text("new.2.genesis-mem", &["--format", format, "-o", out_name]);
        assert!(fs::metadata(&out).unwrap().len() > 50, "{format}");
    }
    let page = fs::read_to_string(folder.path("html")).unwrap();
    assert!(page.contains("<title>shop --serve</title>"), "{page:.500}");
    let folded = fs::read_to_string(folder.path("folded")).unwrap();
    assert_eq!(folded.lines().next(), Some("host;report::fill_the_cache 50000"));
    let json: Value = serde_json::from_slice(&fs::read(folder.path("json")).unwrap()).unwrap();
    assert_eq!(json["sites"][0]["live_bytes"], 50_000);
    let total = folder.text("new.2.genesis-mem", &["--format", "folded", "--total"]);
    assert!(total.contains("read_the_options 128"), "{total}");
}

#[test]
fn differences_say_what_grew() {
    let folder = Folder::new();
    let older = folder.path("old.1.genesis-mem");
    let older = older.to_str().unwrap();
    let text = folder.text("new.2.genesis-mem", &["--diff", older]);
    assert!(text.starts_with("+39.0 KiB held"), "{text}");
    assert!(text.contains("+40 blocks  host    ") && text.contains("fill_the_cache"), "{text}");
    let folded = folder.text("new.2.genesis-mem", &["--diff", older, "--format", "folded"]);
    assert!(folded.contains("host;report::fill_the_cache 10000 50000\n"), "{folded}");
    let svg = folder.text("new.2.genesis-mem", &["--diff", older, "--format", "flame"]);
    assert!(svg.contains("<svg") && svg.contains("fill_the_cache"), "{svg}");
    let refused = folder.report("new.2.genesis-mem", &["--diff", older, "--format", "torch"]);
    assert!(errors(&refused).contains("--diff and --since go with"), "{}", errors(&refused));
}

#[test]
fn earlier_times_of_a_recording_are_shown() {
    let folder = Folder::new();
    // Forty-nine blocks of the cache and the last one are a nanosecond apart.
    let early = folder.text("new.2.genesis-mem", &["--at", "0.00000102"]);
    assert!(early.contains("in       31 blocks") && !early.contains("50 blocks"), "{early}");
    let grown = folder.text("new.2.genesis-mem", &["--since", "0.00000102"]);
    assert!(grown.contains("+19 blocks") && grown.contains("fill_the_cache"), "{grown}");
    let wrong = folder.report("new.2.genesis-mem", &["--at", "noon"]);
    assert!(errors(&wrong).contains("seconds since the beginning"), "{}", errors(&wrong));
}

#[test]
fn leaks_end_with_23_unless_somebody_knows_of_them() {
    let folder = Folder::new();
    let leaking = folder.report("new.2.genesis-mem", &["--leaks"]);
    let text = String::from_utf8(leaking.stdout).unwrap();
    assert_eq!(leaking.status.code(), Some(23), "{text}");
    assert!(text.contains("48.8 KiB in 51 blocks never freed"), "{text}");
    assert!(text.contains(", in report::fill_the_cache"), "{text}");
    let known = ["--leaks", "--leaks-ignore", "fill_the", "--leaks-ignore", "read_the_options"];
    let text = folder.text("new.2.genesis-mem", &known);
    assert!(text.contains("no leaks") && text.contains("48.8 KiB in 50 blocks through"), "{text}");
    let all = folder.report("", &["--leaks"]);
    assert_eq!(all.status.code(), Some(23));
    let nothing = folder.report("new.2.genesis-mem", &["--leaks", "--leaks-ignore", ""]);
    assert!(errors(&nothing).contains("empty"), "{}", errors(&nothing));
}

#[test]
fn a_folder_is_listed_with_what_is_wrong_in_it() {
    let folder = Folder::new();
    fs::write(folder.path("broken.3.genesis-mem"), b"nothing of the kind").unwrap();
    fs::write(folder.path("notes.txt"), b"").unwrap();
    let text = folder.text("", &[]);
    assert!(text.contains("new.2.genesis-mem") && text.contains("48.8 KiB"), "{text}");
    assert!(text.contains("broken.3.genesis-mem: this is no recording"), "{text}");
    assert!(text.contains("genesis-mem report ") && !text.contains("notes.txt"), "{text}");
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_genesis-mem"))
        .arg("report")
        .arg(empty.path())
        .output()
        .unwrap();
    assert!(errors(&output).contains("run --profile"), "{}", errors(&output));
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = Folder::new();
    let whole = recording(10, true);
    let file = folder.path("cut.4.genesis-mem");
    fs::write(&file, &whole[..whole.len() - 16]).unwrap();
    let output = folder.report("cut.4.genesis-mem", &[]);
    assert!(output.status.success());
    assert!(errors(&output).contains("ends early"), "{}", errors(&output));
    for (name, reason) in [("none", "No such file"), ("notes", "this is no recording")] {
        if name == "notes" {
            fs::write(folder.path(name), b"some text, not a recording").unwrap();
        }
        let output = folder.report(name, &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(errors(&output).contains(reason), "{}", errors(&output));
    }
    let nowhere = folder.report("new.2.genesis-mem", &["-o", "/no/such/folder/file"]);
    assert!(errors(&nowhere).contains("cannot write /no/such/folder/file"));
    assert!(Path::new(&file).exists());
}
