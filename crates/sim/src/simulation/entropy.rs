//! The randomness of the operating system, simulated as well.
//!
//! Ids, salts, the order of hash maps and the turns of `tokio::select!` all come from `getrandom` in the end. This thread's
//! calls of it are answered from the seed, so that none of them has to be handed through by hand, and none can be
//! forgotten. Other threads, and this one outside of a run, get what the operating system gives.

use super::chance::mix;
use std::cell::Cell;

thread_local! {
    /// State of the generator during a run.
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From here on this thread's randomness comes from `seed`.
pub(super) fn begin(seed: u64) {
    STATE.set(Some(mix(seed)));
}

pub(super) fn end() {
    STATE.set(None);
}

/// Takes the place of the C library's function of this name in every program that contains this crate.
///
/// # Safety
/// As for `getrandom(2)`: `buffer` must be valid for writing `length` bytes.
#[expect(unsafe_code, reason = "the function must have exactly this name and this signature to be found by the linker")]
// SAFETY: no other function of this name is defined in a program with this crate but the C library's, whose contract this
// one keeps.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller promises that `length` bytes may be written there.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    match STATE.get() {
        Some(state) => {
            STATE.set(Some(draw(state, bytes)));
            length as isize
        }
        None => from_the_system(bytes, flags),
    }
}

/// Fills `bytes`; returns the next state.
fn draw(mut state: u64, bytes: &mut [u8]) -> u64 {
    for piece in bytes.chunks_mut(8) {
        state = state.wrapping_add(1);
        piece.copy_from_slice(&mix(state).to_le_bytes()[..piece.len()]);
    }
    state
}

fn from_the_system(bytes: &mut [u8], flags: u32) -> isize {
    let flags = rustix::rand::GetRandomFlags::from_bits_retain(flags);
    match rustix::rand::getrandom(&mut *bytes, flags) {
        Ok(count) => count as isize,
        // Whoever asked takes a negative answer for an error, and falls back.
        Err(_) => -1,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    /// What a thread sees of the operating system's randomness.
    fn seen(seed: Option<u64>) -> (Vec<u32>, u64, [u8; 5]) {
        let drawing = move || {
            if let Some(seed) = seed {
                super::begin(seed);
            }
            let order = (0..50).map(|key| (key, ())).collect::<HashMap<u32, ()>>().into_keys().collect();
            let mut direct = [0; 5];
            getrandom::fill(&mut direct).unwrap();
            (order, rand::random(), direct)
        };
        std::thread::spawn(drawing).join().unwrap()
    }

    #[test]
    fn all_randomness_of_a_run_comes_from_its_seed() {
        assert_eq!(seen(Some(7)), seen(Some(7)));
        let (one, other) = (seen(Some(7)), seen(Some(8)));
        assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
    }

    #[test]
    fn outside_of_a_run_it_is_the_systems() {
        let (one, other) = (seen(None), seen(None));
        assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
    }
}
