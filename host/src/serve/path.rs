//! Where the socket lies.

use core::{
    ffi::CStr,
    fmt::{self, Write},
    mem::MaybeUninit,
};

use super::ServeError;
use crate::{options::variable, os::errno};

/// The most bytes that the path of a socket has, without the zero at its end.
pub(super) const MOST_BYTES: usize = 107;

/// A path with a zero at its end.
#[derive(Clone, Copy)]
pub(super) struct Path {
    bytes: [u8; MOST_BYTES + 1],
    len: usize,
}

impl Path {
    pub(super) const EMPTY: Self = Self { bytes: [0; MOST_BYTES + 1], len: 0 };

    /// The path up to a zero, of which it has none.
    pub(super) fn new(text: &[u8]) -> Result<Self, ServeError> {
        let mut path = Self::EMPTY;
        path.push(text.split(|&byte| byte == 0).next().unwrap_or_default())?;
        Ok(path)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    /// Where the socket of this process is to be; makes the directory for `auto`.
    pub(super) fn resolve(&self) -> Result<Self, ServeError> {
        let mut path = match self.as_bytes() {
            b"auto" => own_folder()?,
            text => with_process_number(text)?,
        };
        if path.kind().is_some_and(|(kind, _)| kind == libc::S_IFDIR) {
            let trailing = path.as_bytes().ends_with(b"/");
            let between = if trailing { "" } else { "/" };
            path.push_text(format_args!("{between}{}.sock", process_number()))?;
        }
        Ok(path)
    }

    /// The type of the file there, and its state.
    pub(super) fn kind(&self) -> Option<(libc::mode_t, libc::stat)> {
        self.look(libc::stat)
    }

    /// The same, of a symbolic link itself.
    pub(super) fn kind_of_link(&self) -> Option<(libc::mode_t, libc::stat)> {
        self.look(libc::lstat)
    }

    fn look(
        &self,
        call: unsafe extern "C" fn(*const core::ffi::c_char, *mut libc::stat) -> core::ffi::c_int,
    ) -> Option<(libc::mode_t, libc::stat)> {
        let mut state = MaybeUninit::uninit();
        // SAFETY: the path is a C string, and the state is filled in where the call succeeds.
        let state = unsafe {
            (call(self.as_c_str().as_ptr(), state.as_mut_ptr()) == 0)
                .then(|| state.assume_init())?
        };
        Some((state.st_mode & libc::S_IFMT, state))
    }

    fn push(&mut self, text: &[u8]) -> Result<(), ServeError> {
        let end = self.len + text.len();
        if end > MOST_BYTES {
            return Err(ServeError::TooLong { bytes: end });
        }
        self.bytes[self.len..end].copy_from_slice(text);
        self.len = end;
        Ok(())
    }

    fn push_text(&mut self, text: fmt::Arguments<'_>) -> Result<(), ServeError> {
        // Nothing of it is longer than the name of a socket.
        self.write_fmt(text).map_err(|_| ServeError::TooLong { bytes: MOST_BYTES + 1 })
    }
}

impl Write for Path {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

pub(super) fn process_number() -> i32 {
    // SAFETY: no preconditions.
    unsafe { libc::getpid() }
}

fn with_process_number(mut rest: &[u8]) -> Result<Path, ServeError> {
    let mut path = Path::EMPTY;
    while let [first, after @ ..] = rest {
        if let Some(after) = rest.strip_prefix(b"%p") {
            path.push_text(format_args!("{}", process_number()))?;
            rest = after;
        } else {
            path.push(&[*first])?;
            rest = after;
        }
    }
    Ok(path)
}

/// The user's own directory for sockets, made where it is not there.
fn own_folder() -> Result<Path, ServeError> {
    // SAFETY: no preconditions.
    let user = unsafe { libc::geteuid() };
    if let Some(parent) = variable(c"XDG_RUNTIME_DIR").filter(|parent| parent[0] == b'/') {
        let mut folder = Path::new(parent)?;
        folder.push(b"/genesis-mem")?;
        // The variable may be left over from another user's session.
        if make_private(&folder, user).is_ok() {
            return Ok(folder);
        }
    }
    let mut folder = Path::EMPTY;
    folder.push_text(format_args!("/tmp/genesis-mem-{user}"))?;
    make_private(&folder, user)?;
    Ok(folder)
}

/// Sees to a directory that nobody else can enter.
fn make_private(folder: &Path, user: libc::uid_t) -> Result<(), ServeError> {
    // SAFETY: the path is a C string.
    let made = unsafe { libc::mkdir(folder.as_c_str().as_ptr(), 0o700) } == 0;
    if !made && errno() != libc::EEXIST {
        return Err(ServeError::System { call: "mkdir", code: errno() });
    }
    match folder.kind_of_link() {
        Some((libc::S_IFDIR, state)) if state.st_uid == user && state.st_mode & 0o077 == 0 => {
            Ok(())
        }
        _ => Err(ServeError::NotPrivate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_process_stands_where_it_is_asked_for() {
        let number = process_number();
        let path = with_process_number(b"/tmp/%p-%p%").unwrap();
        assert_eq!(path.as_bytes(), format!("/tmp/{number}-{number}%").as_bytes());
        assert_eq!(path.as_c_str().to_bytes(), path.as_bytes());
        let folder = Path::new(b"/tmp").unwrap().resolve().unwrap();
        assert_eq!(folder.as_bytes(), format!("/tmp/{number}.sock").as_bytes());
    }

    #[test]
    fn a_path_has_an_end() {
        let longest = [b'a'; MOST_BYTES];
        assert_eq!(Path::new(&longest).unwrap().as_c_str().to_bytes(), longest);
        let error = Path::new(&[b'a'; MOST_BYTES + 1]).map(|_| ()).unwrap_err();
        assert_eq!(error, ServeError::TooLong { bytes: 108 });
        assert_eq!(Path::new(b"ab\0cd").unwrap().as_bytes(), b"ab");
    }
}
