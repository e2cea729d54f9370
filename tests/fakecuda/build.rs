//! How the library is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Whoever asks for `libcuda.so` after the library was loaded by its path gets it.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    // Its threads run for as long as the process does.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
