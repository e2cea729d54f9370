//! Which program is meant, and where its socket lies.

use std::{
    fs,
    os::unix::{
        ffi::OsStringExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::source::{Source, command_of};

const HOW: &str = "\
A program tells its statistics where it is started with
  genesis-mem run --socket -- PROGRAM
or with GENESIS_MEM_SOCKET=auto in its environment, or where it calls
genesis_mem_host::serve(\"auto\").";

/// The program that `target` names: by number, by the path of a socket, by a directory with one
/// socket, or as the only one there is.
pub(super) fn find(target: Option<&str>) -> anyhow::Result<Source> {
    let Some(target) = target else { return only_one(of_this_user()) };
    if let Ok(process) = target.parse() {
        return of_process(process);
    }
    let path = Path::new(target);
    if path.is_dir() {
        return only_one(sources_in(path));
    }
    let kind = fs::metadata(path).with_context(|| format!("cannot look at {target}"))?.file_type();
    if !kind.is_socket() {
        bail!("{target} is no socket; give that of a program, or the number of its process");
    }
    Source::at(path).with_context(|| format!("nobody answers at {target}; has the program ended?"))
}

/// All programs that answer of those that `targets` name, or of this user's, if they name none. Of
/// several sockets of a process one is enough.
pub(crate) fn find_all(targets: &[String]) -> Vec<Source> {
    let of_target = |target: &String| match Path::new(target) {
        folder if folder.is_dir() => sources_in(folder),
        _ => find(Some(target)).into_iter().collect(),
    };
    let mut sources = match targets {
        [] => of_this_user(),
        targets => targets.iter().flat_map(of_target).collect(),
    };
    sources.sort_by_key(|source| source.process);
    sources.dedup_by_key(|source| source.process);
    sources
}

fn of_this_user() -> Vec<Source> {
    let user = rustix::process::geteuid().as_raw();
    own_folders(user).iter().flat_map(|folder| sources_in(folder)).collect()
}

fn only_one(mut sources: Vec<Source>) -> anyhow::Result<Source> {
    match sources.len() {
        0 => bail!("no running program tells its statistics.\n{HOW}"),
        1 => Ok(sources.remove(0)),
        _ => {
            let names: Vec<_> = sources.iter().map(Source::name).collect();
            bail!("say which of these, by its number:\n  {}", names.join("\n  "))
        }
    }
}

/// The programs that answer at sockets in a directory, by number. Removes what killed programs have
/// left there.
fn sources_in(folder: &Path) -> Vec<Source> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sockets = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()));
    let answers = |path: PathBuf| {
        let source = Source::at(&path).ok();
        if source.is_none() && is_left_over(&path) {
            // It may be another user's to remove.
            let _ = fs::remove_file(&path);
        }
        source
    };
    let mut sources: Vec<_> = sockets.filter_map(|entry| answers(entry.path())).collect();
    sources.sort_by_key(|source| source.process);
    sources
}

/// Whether a socket bears the number of a process that there is no more.
fn is_left_over(socket: &Path) -> bool {
    let number = socket.file_stem().and_then(|number| number.to_str()?.parse::<u32>().ok());
    number.is_some_and(|number| {
        *socket.as_os_str() == *socket.with_file_name(socket_name(number)).as_os_str()
            && !Path::new(&format!("/proc/{number}")).exists()
    })
}

fn of_process(process: u32) -> anyhow::Result<Source> {
    let Ok(state) = fs::metadata(format!("/proc/{process}")) else {
        bail!("there is no process {process}");
    };
    let own = own_folders(state.uid()).into_iter().map(|folder| folder.join(socket_name(process)));
    // A child may have inherited the name of its parent's socket.
    let fits = |source: &Source| source.process == process;
    let mut candidates = named_in_environment(process).into_iter().chain(own);
    match candidates.find_map(|path| Source::at(&path).ok().filter(fits)) {
        Some(source) => Ok(source),
        None => bail!(
            "process {process} ({}) does not tell its statistics, or not to you.\n{HOW}",
            command_of(process)
        ),
    }
}

fn socket_name(process: u32) -> String {
    format!("{process}.sock")
}

/// Where `auto` puts sockets of a user's programs, as far as these are that user's directories.
fn own_folders(user: u32) -> Vec<PathBuf> {
    let ours = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let theirs = PathBuf::from(format!("/run/user/{user}"));
    let mut folders: Vec<_> =
        ours.into_iter().chain([theirs]).map(|folder| folder.join("genesis-mem")).collect();
    folders.push(PathBuf::from(format!("/tmp/genesis-mem-{user}")));
    folders.dedup();
    // Anybody can make one below `/tmp` that bears another's number.
    let is_theirs = |folder: &PathBuf| {
        fs::symlink_metadata(folder).is_ok_and(|state| state.is_dir() && state.uid() == user)
    };
    folders.retain(is_theirs);
    folders
}

/// Where the environment that the process was started with puts its socket.
fn named_in_environment(process: u32) -> Vec<PathBuf> {
    let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    let variable = |name: &[u8]| {
        let mut values = environment.split(|&byte| byte == 0);
        let value = values.find_map(|value| value.strip_prefix(name)?.strip_prefix(b"="))?;
        Some(PathBuf::from(std::ffi::OsString::from_vec(value.to_vec())))
    };
    let Some(path) = variable(b"GENESIS_MEM_SOCKET") else { return Vec::new() };
    let path = match path.to_str() {
        Some("auto") => match variable(b"XDG_RUNTIME_DIR") {
            Some(folder) => folder.join("genesis-mem"),
            None => return Vec::new(),
        },
        Some(text) => PathBuf::from(text.replace("%p", &process.to_string())),
        None => path,
    };
    // It is seen from where the process is.
    let path = PathBuf::from(format!("/proc/{process}/cwd")).join(path);
    vec![path.join(socket_name(process)), path]
}
