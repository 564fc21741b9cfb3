//! What becomes of memory that was freed.

/// Gives back what verdicts of hundreds of assets leave behind; glibc's own keeps most of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Blocks and all that is read from them come and go by the megabyte: what was freed is kept for a second rather than for a
/// hundredth of one, so that the next block, and the next window of rows, need not ask the system for it again.
pub fn keep_what_was_freed() {
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15; // as in mimalloc.h, version 2
    #[allow(unsafe_code)]
    // SAFETY: a number among settings, before there are other threads.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, 1_000);
    }
}

/// Gives back what this thread freed: one that only waits for others from here on would keep it for good.
pub fn give_back_what_was_freed() {
    #[allow(unsafe_code)]
    // SAFETY: it touches nothing that is in use.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
