//! `genesis-mem run --profile` and `--leaks`: programs in C and C++ that leak on purpose.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

/// The library: `GENESIS_MEM_LIBRARY` where it is set, else built now in profile `preload`.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        if let Some(path) = env::var_os("GENESIS_MEM_LIBRARY") {
            return path.into();
        }
        let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--profile", "preload", "-p", "genesis-mem-preload"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success(), "the library did not build");
        Path::new(env!("CARGO_BIN_EXE_genesis-mem"))
            .with_file_name("../preload/libgenesis_mem.so")
            .canonicalize()
            .unwrap()
    })
}

const LEAKY_C: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static char *last;
__attribute__((noinline)) static void remember(int number) {
  char text[32];
  snprintf(text, sizeof text, "item number %d", number);
  last = strdup(text);
}
__attribute__((noinline)) static void cache(void) { last = malloc(7000); }
int main(int count, char **words) {
  for (int number = 0; number < 50 * (count > 1); number++) remember(number);
  if (count > 2) cache();
  for (int round = 0; round < 100; round++) free(realloc(malloc(round + 1), 2 * round + 1));
  printf("%s\n", last ? last : "nothing");
  return 5;
}
"#;

const LEAKY_CPP: &str = r#"
#include <map>
#include <string>
#include <vector>
struct Index {
  std::map<std::string, std::vector<int>> words;
  void add(const std::string &word, int place) { words[word].push_back(place); }
};
int main() {
  auto *index = new Index;
  for (int place = 0; place < 1000; place++) index->add("a word that is long: " + std::to_string(place), place);
  return 0;
}
"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn compile(&self, compiler: &str, source: &str, text: &str) -> String {
        let (source, program) = (self.path(source), self.path("leaky"));
        fs::write(&source, text).unwrap();
        let words = ["-g", "-O1", "-o", &program, &source];
        assert!(Command::new(compiler).args(words).status().unwrap().success());
        program
    }
}

fn genesis_mem(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_genesis-mem"));
    command.args(words).env("GENESIS_MEM_LIBRARY", library()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn leaks_of_a_c_program_are_counted_exactly_and_end_with_23() {
    let folder = Folder::new();
    let program = folder.compile("gcc", "leaky.c", LEAKY_C);
    let output = genesis_mem(&["run", "--leaks", "--", &program, "leak"]);
    let text = stderr(&output);
    assert_eq!((output.status.code(), &*output.stdout), (Some(23), &b"item number 49\n"[..]));
    // Ten names of 14 bytes and forty of 15, with their zeros.
    assert!(text.contains("740 B in 50 blocks never freed"), "{text}");
    assert!(text.contains("leaky.c:9, in remember"), "{text}");
    assert!(text.contains("leaky.c:13, in main"), "{text}");
    assert!(!text.contains("genesis-mem report"), "nothing was kept: {text}");
}

#[test]
fn known_leaks_are_left_out_and_clean_programs_keep_their_exit_code() {
    let folder = Folder::new();
    let program = folder.compile("gcc", "leaky.c", LEAKY_C);
    let words = ["run", "--leaks", "--leaks-ignore", "remember", "--", &program, "leak"];
    let known = genesis_mem(&words);
    assert_eq!(known.status.code(), Some(5), "{}", stderr(&known));
    assert!(stderr(&known).contains("ignored: 740 B in 50 blocks through \"remember\""));
    let both = genesis_mem(&[&words[..], &["more"]].concat());
    assert_eq!(both.status.code(), Some(23), "{}", stderr(&both));
    assert!(stderr(&both).contains("6.8 KiB in 1 blocks never freed"), "{}", stderr(&both));
    let clean = genesis_mem(&["run", "--leaks", "--", &program]);
    assert_eq!(clean.status.code(), Some(5), "{}", stderr(&clean));
    assert!(stderr(&clean).contains("no leaks"), "{}", stderr(&clean));
    let all = genesis_mem(&["run", "--leaks", "--leaks-all", "--", &program]);
    assert!(stderr(&all).contains("never freed"), "the buffer of stdout: {}", stderr(&all));
}

#[test]
fn callers_of_the_cpp_library_are_named() {
    let folder = Folder::new();
    let program = folder.compile("g++", "leaky.cpp", LEAKY_CPP);
    let recordings = folder.path("recordings");
    let output = genesis_mem(&["run", "--profile", &recordings, "--full", "--", &program]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("genesis-mem report {recordings}/leaky.")));
    let report = genesis_mem(&["report", &recordings, "--format", "json"]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let sites = report["sites"].as_array().unwrap().iter();
    let of_add = sites.filter(|site| site["site"].as_str().unwrap().contains("leaky.cpp:7"));
    let held: u64 = of_add.map(|site| site["live_bytes"].as_u64().unwrap()).sum();
    // A node, a string and an array of each word.
    assert!((1000 * (88 + 4 + 22)..1000 * 160).contains(&held), "{held}");
    let peak = genesis_mem(&["report", &recordings, "--at", "peak", "--format", "folded"]);
    let peak = String::from_utf8(peak.stdout).unwrap();
    assert!(peak.contains(";main;") && peak.contains("operator new"), "{peak}");
}

#[test]
fn programs_that_a_program_starts_are_recorded_too() {
    let folder = Folder::new();
    let recordings = folder.path("recordings");
    let words = ["run", "--json", "--profile", &recordings, "--sample", "1KiB", "--"];
    let output = genesis_mem(
        &[&words[..], &["bash", "-c", "sort /dev/null; sort /dev/null; true"]].concat(),
    );
    let outcome: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(outcome["recordings"]["own"].as_str().unwrap().ends_with(".genesis-mem"), "{outcome}");
    assert_eq!(outcome["recordings"]["others"].as_array().unwrap().len(), 2, "{outcome}");
    let list = genesis_mem(&["report", &recordings]);
    let list = String::from_utf8(list.stdout).unwrap();
    assert_eq!(list.matches("sort /dev/null ").count(), 2, "{list}");
    assert!(list.contains("a sample each 1.0 KiB"), "{list}");
    let refused = genesis_mem(&["run", "--full", "--", "true"]);
    assert!(stderr(&refused).contains("--profile DIR"), "{}", stderr(&refused));
}
