//! Wrong pointers and layouts: one line on stderr that names the kind, the address and the block,
//! then abort.

use std::{
    alloc::{GlobalAlloc, Layout},
    os::unix::process::ExitStatusExt,
    thread,
};

use genesis_mem_host::{Genesis, core::config::FaultKind};

#[path = "common/alone.rs"]
mod alone;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

const SMALL: Layout = layout(64, 8);
const LARGE: Layout = layout(3 << 20, 8);

const fn layout(bytes: usize, align: usize) -> Layout {
    match Layout::from_size_align(bytes, align) {
        Ok(layout) => layout,
        Err(_) => panic!("not a layout"),
    }
}

fn alloc(layout: Layout) -> *mut u8 {
    // SAFETY: the layout has a size.
    let block = unsafe { ALLOC.alloc(layout) };
    assert!(!block.is_null());
    block
}

/// Frees, rightly or wrongly: a wrong free is what these tests are about, and ends the process.
fn free(block: *mut u8, layout: Layout) {
    // SAFETY: where the block is not one, the allocator stops the process.
    unsafe { ALLOC.dealloc(block, layout) }
}

/// Tells the first process which address the report must name.
fn announce(address: *mut u8) -> *mut u8 {
    println!("\naddress {address:p}");
    address
}

/// Runs `work`, which must end in one line that says `kind`, the announced address, and `block`.
fn stops(test: &str, kind: FaultKind, block: &str, work: impl FnOnce()) {
    let Some(output) = alone::output(test, &[], work) else { panic!("{test} went unnoticed") };
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{test}:\n{printed}\n{said}");
    let lines: Vec<_> = said.lines().collect();
    let [line] = lines[..] else { panic!("{test}: not one line:\n{said}") };
    assert!(line.starts_with("genesis-mem: ") && line.contains(kind.name()), "{line}");
    assert!(line.contains(block), "{line} lacks {block}");
    if let Some(address) = printed.lines().find_map(|line| line.strip_prefix("address ")) {
        assert!(line.contains(address), "{line} lacks {address}");
    }
}

#[test]
fn double_free_at_once() {
    stops("double_free_at_once", FaultKind::DoubleFree, "block of 64 bytes", || {
        let block = announce(alloc(SMALL));
        free(block, SMALL);
        free(block, SMALL);
    });
}

#[test]
fn double_free_after_others() {
    stops("double_free_after_others", FaultKind::DoubleFree, "block of 64 bytes", || {
        let blocks: Vec<_> = (0..100).map(|_| alloc(SMALL)).collect();
        let first = announce(blocks[0]);
        blocks.iter().for_each(|&block| free(block, SMALL));
        free(first, SMALL);
    });
}

#[test]
fn double_free_from_another_thread() {
    stops("double_free_from_another_thread", FaultKind::DoubleFree, "block of 64 bytes", || {
        let block = announce(alloc(SMALL));
        free(block, SMALL);
        let address = block.expose_provenance();
        let _ = thread::spawn(move || free(std::ptr::with_exposed_provenance_mut(address), SMALL))
            .join();
    });
}

#[test]
fn double_free_of_a_large_block() {
    stops("double_free_of_a_large_block", FaultKind::DoubleFree, "", || {
        let block = announce(alloc(LARGE));
        free(block, LARGE);
        free(block, LARGE);
    });
}

#[test]
fn inside_a_small_block() {
    stops("inside_a_small_block", FaultKind::Interior, "block of 64 bytes", || {
        free(announce(alloc(SMALL).wrapping_add(16)), SMALL);
    });
}

#[test]
fn misaligned() {
    stops("misaligned", FaultKind::Interior, "block of 64 bytes", || {
        free(announce(alloc(SMALL).wrapping_add(1)), SMALL);
    });
}

#[test]
fn inside_a_large_block() {
    stops("inside_a_large_block", FaultKind::Interior, "block of 3145728 bytes", || {
        free(announce(alloc(LARGE).wrapping_add(1 << 20)), LARGE);
    });
}

#[test]
fn on_the_stack() {
    stops("on_the_stack", FaultKind::Foreign, "", || {
        let mut bytes = [0u8; 64];
        free(announce(bytes.as_mut_ptr()), SMALL);
    });
}

#[test]
fn of_a_static() {
    static BYTES: [u8; 64] = [1; 64];
    stops("of_a_static", FaultKind::Foreign, "", || {
        free(announce(BYTES.as_ptr().cast_mut()), SMALL);
    });
}

#[test]
fn of_another_mapping() {
    stops("of_another_mapping", FaultKind::Foreign, "", || {
        let (access, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
        let how = how | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping harms nobody.
        let pages = unsafe { libc::mmap(std::ptr::null_mut(), 1 << 20, access, how, -1, 0) };
        free(announce(pages.cast()), SMALL);
    });
}

#[test]
fn with_another_size() {
    stops("with_another_size", FaultKind::WrongLayout, "64 bytes, 256 bytes given", || {
        free(announce(alloc(SMALL)), layout(256, 8));
    });
}

#[test]
fn a_large_block_with_another_size() {
    let block = "block of 3145728 bytes, 64 bytes given";
    stops("a_large_block_with_another_size", FaultKind::WrongLayout, block, || {
        free(announce(alloc(LARGE)), SMALL);
    });
}

#[test]
fn with_another_alignment() {
    stops("with_another_alignment", FaultKind::WrongLayout, "block of 64 bytes", || {
        free(announce(alloc(SMALL)), layout(64, 4096));
    });
}

#[test]
fn realloc_of_a_freed_block() {
    stops("realloc_of_a_freed_block", FaultKind::DoubleFree, "block of 64 bytes", || {
        let block = announce(alloc(SMALL));
        free(block, SMALL);
        // SAFETY: the allocator stops the process.
        let _ = unsafe { ALLOC.realloc(block, SMALL, 4000) };
    });
}

#[test]
fn write_after_free() {
    stops("write_after_free", FaultKind::UseAfterFree, "block of 64 bytes", || {
        let blocks: Vec<_> = (0..4).map(|_| alloc(SMALL)).collect();
        blocks.iter().for_each(|&block| free(block, SMALL));
        // SAFETY: the memory is mapped; the allocator stops the process when it finds the write.
        unsafe { blocks[3].write_bytes(0x41, 64) };
        for _ in 0..2000 {
            std::hint::black_box(alloc(SMALL));
        }
    });
}
