//! The socket that tells how a program's memory is while it runs.

use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use genesis_mem_host::{Genesis, ServeError, serve, stop_serving};
use serde_json::Value;

#[path = "common/alone.rs"]
mod alone;
#[path = "common/success.rs"]
mod success;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

/// Runs `work` in a process with `variables`, which must succeed; returns what it said on stderr.
fn succeeds(test: &str, variables: &[(&str, &str)], work: impl FnOnce()) -> Option<String> {
    alone::output(test, variables, work).as_ref().map(success::said)
}

/// What the socket at `path` answers within ten seconds.
fn ask(path: &Path, question: &str) -> String {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Ok(mut stream) = UnixStream::connect(path) {
            stream.write_all(question.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            return text;
        }
        assert!(Instant::now() < end, "nobody answers at {}", path.display());
        // Allocations on slow paths are when a socket is opened.
        std::mem::forget(vec![0u8; 300_000]);
        thread::sleep(Duration::from_millis(10));
    }
}

fn statistics(path: &Path) -> Value {
    let text = ask(path, "");
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn own_socket(folder: &Path) -> PathBuf {
    folder.join(format!("{}.sock", process::id()))
}

/// A folder of this test's own, named in `variable` by the process that starts the other.
fn with_folder(test: &str, work: impl FnOnce(&Path)) -> Option<(String, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let variables = [("GENESIS_MEM_SOCKET", path)];
    let inner = || work(Path::new(&std::env::var_os("GENESIS_MEM_SOCKET").unwrap()));
    succeeds(test, &variables, inner).map(|said| (said, folder))
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn the_environment_opens_a_socket_and_the_end_removes_it() {
    let done = with_folder("the_environment_opens_a_socket_and_the_end_removes_it", |folder| {
        let before = statistics(&own_socket(folder));
        let kept = vec![1u8; 20 << 20];
        let after = statistics(&own_socket(folder));
        let allocated = |value: &Value| value["allocated_bytes"]["current"].as_u64().unwrap();
        assert!(allocated(&after) >= allocated(&before) + (20 << 20), "{before}\n{after}");
        assert_eq!(after["version"], 1);
        let mode = fs::metadata(own_socket(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(kept);
    });
    if let Some((said, folder)) = done {
        assert!(said.is_empty() && is_empty(folder.path()), "{said}");
    }
}

#[test]
fn clients_that_hang_up_or_stare_do_no_harm() {
    let done = with_folder("clients_that_hang_up_or_stare_do_no_harm", |folder| {
        // SAFETY: a program of any kind has the default, which ends it.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let path = own_socket(folder);
        statistics(&path);
        let stares = UnixStream::connect(&path).unwrap();
        for _ in 0..500 {
            drop(UnixStream::connect(&path).unwrap());
        }
        statistics(&path);
        drop(stares);
        assert!(ask(&path, "what is this?\n").starts_with("{\"version\""));
        let http = ask(&path, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (head, body) = http.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200 OK\r\nContent-Type: application/json"), "{head}");
        serde_json::from_str::<Value>(body).unwrap();
    });
    assert!(done.is_none_or(|(said, _)| said.is_empty()));
}

#[test]
fn a_forked_child_has_a_socket_of_its_own() {
    let done = with_folder("a_forked_child_has_a_socket_of_its_own", |folder| {
        statistics(&own_socket(folder));
        let parent = own_socket(folder);
        // SAFETY: the child does what the allocator promises for it.
        let child = unsafe { libc::fork() };
        if child == 0 {
            statistics(&own_socket(folder));
            process::exit(if parent.exists() { 0 } else { 1 });
        }
        let mut status = 0;
        // SAFETY: the child is ours.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status}");
        assert!(!folder.join(format!("{child}.sock")).exists());
        statistics(&parent);
    });
    if let Some((said, folder)) = done {
        assert!(said.is_empty() && is_empty(folder.path()), "{said}");
    }
}

#[test]
fn a_program_may_close_what_it_did_not_open() {
    with_folder("a_program_may_close_what_it_did_not_open", |folder| {
        let path = own_socket(folder);
        statistics(&path);
        for descriptor in 3..1024 {
            // SAFETY: this process has no file that it needs.
            unsafe { libc::close(descriptor) };
        }
        // The one that was waited for is answered; then there is a new socket.
        for _ in 0..5 {
            statistics(&path);
        }
    });
}

#[test]
fn a_program_serves_and_stops() {
    let name = "a_program_serves_and_stops";
    succeeds(name, &[], || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("here.sock");
        let text = path.to_str().unwrap();
        serve(text).unwrap();
        statistics(&path);
        // Another path takes its place.
        serve(folder.path().join("%p").to_str().unwrap()).unwrap();
        assert!(!path.exists());
        statistics(&folder.path().join(process::id().to_string()));
        stop_serving();
        assert!(is_empty(folder.path()));
        // Nobody answers at what a killed program left.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        serve(text).unwrap();
        statistics(&path);
        stop_serving();
        // A file is nobody's to remove, and neither is a socket that answers.
        fs::write(&path, "precious").unwrap();
        assert_eq!(serve(text), Err(ServeError::NotASocket));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(serve(text), Err(ServeError::InUse));
        drop(other);
        assert_eq!(serve("x".repeat(200)), Err(ServeError::TooLong { bytes: 200 }));
        let error = serve(folder.path().join("no/such/folder").to_str().unwrap()).unwrap_err();
        assert!(error.to_string().contains("bind failed (error 2)"), "{error}");
        assert!(serve("").is_err());
    });
}

#[test]
fn auto_is_a_directory_that_is_the_users_alone() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().to_str().unwrap();
    let variables = [("GENESIS_MEM_SOCKET", "auto"), ("XDG_RUNTIME_DIR", parent)];
    let said = succeeds("auto_is_a_directory_that_is_the_users_alone", &variables, || {
        let folder =
            PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR").unwrap()).join("genesis-mem");
        statistics(&own_socket(&folder));
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    });
    assert!(said.is_none_or(|said| said.is_empty()));
}

#[test]
fn a_path_that_cannot_be_is_named_once() {
    let variables = [("GENESIS_MEM_SOCKET", "/no/such/folder/socket")];
    let said = succeeds("a_path_that_cannot_be_is_named_once", &variables, || {
        for size in 0..200 {
            drop(vec![1u8; size * 1000 + 1]);
        }
        thread::spawn(|| drop(vec![1u8; 5 << 20])).join().unwrap();
    });
    if let Some(said) = said {
        let start = "genesis-mem: GENESIS_MEM_SOCKET=/no/such/folder/socket ignored: bind failed";
        assert!(said.starts_with(start) && said.lines().count() == 1, "{said}");
    }
}
