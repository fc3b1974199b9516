//! Memory that a process has taken and no longer needs: the allocator of every binary here, and its
//! word to give back what is free. A node runs hundreds of shims and workers, which mostly wait.

use mimalloc::MiMalloc;

/// A request costs a hundred small allocations, most of them wasmtime's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[expect(unsafe_code, reason = "the allocator is written in C")]
unsafe extern "C" {
    /// mimalloc's own; its crate declares it only with a feature that brings a further crate.
    fn mi_collect(force: bool);
}

/// Gives the system back what this thread has freed, and what the C library has: libseccomp makes a container's filter
/// of a megabyte. For moments after which a process does less than before: mimalloc itself gives memory back when it
/// is asked for more, which may be never, and the C library only what lies at the end of its heap.
pub(crate) fn give_back() {
    #[expect(unsafe_code, reason = "the allocators are written in C")]
    // SAFETY: they may be called at any time, and touch only what is free.
    unsafe {
        mi_collect(true);
        #[cfg(target_env = "gnu")]
        libc::malloc_trim(0);
    };
}
