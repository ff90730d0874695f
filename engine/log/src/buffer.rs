//! Page-aligned memory that a device may read while a flush is in flight.
#![allow(unsafe_code)] // Alignment for direct IO cannot be asked of `Vec`.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::format::PAGE_BYTES;

/// A zeroed buffer whose address and length are multiples of a page.
pub(crate) struct AlignedBuffer {
    start: NonNull<u8>,
    bytes: usize,
    /// Its index among the buffers registered with the ring.
    registered: Option<u16>,
}

// SAFETY: the buffer owns its memory exclusively, and nothing in it belongs to a thread.
unsafe impl Send for AlignedBuffer {}
// SAFETY: a shared reference gives out only `&[u8]`; writing needs `&mut`.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// Allocates at least `bytes`, rounded up to whole pages, zeroed.
    pub(crate) fn new(bytes: usize) -> AlignedBuffer {
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        let layout = Self::layout(bytes);
        // SAFETY: the layout's size is not zero (asserted in `layout`).
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => AlignedBuffer {
                start,
                bytes,
                registered: None,
            },
            None => handle_alloc_error(layout),
        }
    }

    fn layout(bytes: usize) -> Layout {
        assert!(bytes > 0);
        Layout::from_size_align(bytes, PAGE_BYTES).expect("a buffer's size fits the address space")
    }

    pub(crate) fn registered(&self) -> Option<u16> {
        self.registered
    }

    pub(crate) fn set_registered(&mut self, index: u16) {
        self.registered = Some(index);
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points to `bytes` initialised (zeroed) bytes that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, freed once.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_zeroed_and_rounded() {
        let mut buffer = AlignedBuffer::new(5000);
        assert_eq!(buffer.len(), 8192);
        assert_eq!(buffer.as_ptr().addr() % PAGE_BYTES, 0);
        assert!(buffer.iter().all(|byte| *byte == 0));
        buffer[8191] = 1;
        assert_eq!(buffer[8191], 1);
    }
}
