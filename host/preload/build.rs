//! How the library is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Threads and exit handlers of the program lead into the library for as long as it runs.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Every relocation is settled before the first call: none may need memory later.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,now");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libgenesis_mem.so");
}
