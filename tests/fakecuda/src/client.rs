//! For tests: finding the library, putting it in the driver's place, and steering it.

use std::{
    env,
    ffi::{CString, c_char, c_int},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use libloading::{Library, Symbol};

pub use crate::memory::Live;

/// The library as cargo built it, beside the test that runs or beside its dependencies.
///
/// # Panics
/// It is not there.
pub fn library() -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    let places = test.ancestors().skip(1).take(2).flat_map(|at| [at.to_owned(), at.join("deps")]);
    let mut files = places.map(|folder| folder.join("libfakecuda.so"));
    files.find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("no libfakecuda.so near {}: is it a dev-dependency?", test.display())
    })
}

/// Copies the library into `folder` under the names of the driver's, for `LD_LIBRARY_PATH`.
/// Without the functions in `lacking`, as if it were older.
///
/// # Errors
/// The folder cannot be written to.
pub fn install(folder: &Path, lacking: &[&str]) -> io::Result<()> {
    let mut bytes = fs::read(library())?;
    for function in lacking {
        // The name between two zeroes is an entry of a table of symbols; another name of the
        // same length has another hash and is never found.
        let entry: Vec<u8> = [b"\0", function.as_bytes(), b"\0"].concat();
        let found: Vec<_> =
            bytes.windows(entry.len()).enumerate().filter(|(_, w)| *w == entry).collect();
        let found: Vec<_> = found.into_iter().map(|(at, _)| at).collect();
        found.iter().for_each(|at| bytes[at + 1] = b'x');
    }
    fs::write(folder.join("libcuda.so.1"), &bytes)?;
    fs::write(folder.join("libcuda.so"), &bytes)
}

/// The library in the driver's place in this process, for one test at a time.
#[derive(Debug)]
pub struct Fake {
    library: &'static Library,
    _turn: MutexGuard<'static, ()>,
}

impl Fake {
    /// Loads the library, so that whoever asks for the driver's gets it, and makes the device as
    /// new. Other tests wait until this one is through.
    ///
    /// # Panics
    /// It cannot be loaded.
    pub fn load() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // The loader knows it by its name within, `libcuda.so`, from now on.
        // SAFETY: it does nothing when it is loaded.
        let load = || unsafe { Library::new(library()) }.expect("the library can be loaded");
        let fake = Self { library: LIBRARY.get_or_init(load), _turn: turn };
        fake.function::<extern "C" fn()>("fakecuda_reset")();
        fake
    }

    fn function<T>(&self, name: &str) -> Symbol<'_, T> {
        // SAFETY: every caller below names the type that `control` defines.
        unsafe { self.library.get(name) }.expect("the library has the function")
    }

    /// Changes a setting for this test.
    ///
    /// # Panics
    /// There is none of that name.
    pub fn set(&self, name: &str, value: u64) {
        let set = self.function::<extern "C" fn(*const c_char, u64) -> bool>("fakecuda_set");
        assert!(set(text(name).as_ptr(), value), "no setting {name} that can be {value}");
    }

    /// Lets a call of `function`, or any where it is empty, fail after as many more.
    ///
    /// # Panics
    /// The driver has no such code.
    pub fn fail(&self, function: &str, after: u64, code: i32) {
        type Fail = extern "C" fn(*const c_char, u64, c_int) -> bool;
        let known = self.function::<Fail>("fakecuda_fail")(text(function).as_ptr(), after, code);
        assert!(known, "the library gives no code {code}");
    }

    /// How often `function`, or any where it is empty, was called.
    pub fn count(&self, function: &str) -> u64 {
        let count = self.function::<extern "C" fn(*const c_char) -> u64>("fakecuda_count");
        count(text(function).as_ptr())
    }

    /// Another process takes memory, or gives it back where negative.
    pub fn take_memory(&self, bytes: i64) {
        self.function::<extern "C" fn(i64)>("fakecuda_take_memory")(bytes);
    }

    /// What is still held of the device.
    pub fn live(&self) -> Live {
        self.function::<extern "C" fn() -> Live>("fakecuda_live")()
    }
}

fn text(name: &str) -> CString {
    CString::new(name).expect("a name has no zero")
}
