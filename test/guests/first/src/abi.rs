//! Memory as wit-bindgen 0.2 used it: its allocator, and values that lie where the other side wrote them.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ptr::without_provenance_mut;

/// The other side makes room here for what it passes.
#[unsafe(export_name = "canonical_abi_realloc")]
unsafe extern "C" fn canonical_abi_realloc(
    old: *mut u8,
    old_size: usize,
    align: usize,
    size: usize,
) -> *mut u8 {
    if size == 0 {
        return without_provenance_mut(align);
    }
    let layout = |size| Layout::from_size_align(size, align).expect("a layout");
    // SAFETY: what is not new was made here, with the size and the alignment that are told.
    unsafe {
        match old_size {
            0 => alloc(layout(size)),
            _ => realloc(old, layout(old_size), size),
        }
    }
}

/// What a value that was passed took goes back by this.
#[unsafe(export_name = "canonical_abi_free")]
unsafe extern "C" fn canonical_abi_free(at: *mut u8, size: usize, align: usize) {
    if size > 0 {
        let layout = Layout::from_size_align(size, align).expect("a layout");
        // SAFETY: it was made by `canonical_abi_realloc`.
        unsafe { dealloc(at, layout) }
    }
}

/// Where an import writes its result. The largest has 32 bytes.
#[repr(C, align(8))]
struct Area([u8; 32]);

/// The result of an import, which gets the place for it last. It stays in memory, as the one that bindings of then
/// had for each interface did.
pub(crate) fn asked(call: impl FnOnce(*mut u8)) -> At {
    let area = Box::leak(Box::new(Area([0xff; 32])));
    call(area.0.as_mut_ptr());
    At(area.0.as_ptr())
}

/// The address of a value that the other side wrote.
#[derive(Clone, Copy)]
pub(crate) struct At(pub(crate) *const u8);

impl At {
    fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: callers ask for what the type of the value has there.
        unsafe { self.0.add(offset).cast::<T>().read() }
    }

    pub(crate) fn byte(self, offset: usize) -> u8 {
        self.read(offset)
    }

    pub(crate) fn short(self, offset: usize) -> u16 {
        self.read(offset)
    }

    pub(crate) fn word(self, offset: usize) -> u32 {
        self.read(offset)
    }

    pub(crate) fn long(self, offset: usize) -> i64 {
        self.read(offset)
    }

    pub(crate) fn real(self, offset: usize) -> f64 {
        self.read(offset)
    }

    /// A text or bytes, which go back.
    pub(crate) fn text(self, offset: usize) -> String {
        text(self.read(offset), self.read(offset + 4))
    }

    /// The elements of a list, each of `size` bytes.
    pub(crate) fn list(self, offset: usize, size: usize) -> impl Iterator<Item = At> {
        let (start, length): (*const u8, usize) = (self.read(offset), self.read(offset + 4));
        (0..length).map(move |index| At(start.wrapping_add(index * size)))
    }
}

/// A text or bytes that were passed, which go back.
pub(crate) fn text(at: *mut u8, length: usize) -> String {
    if length == 0 {
        return String::new();
    }
    // SAFETY: the other side filled so many bytes that it had from `canonical_abi_realloc`.
    unsafe {
        let text = String::from_utf8_lossy(std::slice::from_raw_parts(at, length)).into_owned();
        canonical_abi_free(at, length, 1);
        text
    }
}

/// A value in memory for the other side, which nobody frees.
pub(crate) fn left<T>(value: T) -> *const T {
    Box::leak(Box::new(value))
}
