//! Random numbers for unit tests.

/// Returns a generator, which is xorshift64. The generator returns a number below its argument. The seed is fixed, so that
/// every run tests the same cases.
pub(crate) fn generator() -> impl FnMut(usize) -> usize {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    }
}
