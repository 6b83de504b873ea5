//! An answer's turn on its worker: how much of it goes out before whatever else is ready has its own.
//!
//! Socket buffers take megabytes, so that with a hundred downloads at once everybody else would wait for all of them.

/// Some 0.2 ms of copying and encrypting.
const IN_A_ROW: usize = 128 * 1024;

/// Bytes given since the last pause.
#[derive(Default)]
pub(super) struct Turn(usize);

impl Turn {
    pub(super) fn given(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes);
    }

    /// Whether it is others' turn now; the next one begins with that.
    pub(super) fn is_over(&mut self) -> bool {
        let is_over = self.0 >= IN_A_ROW;
        if is_over {
            self.0 = 0;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_between_pieces_of_a_large_answer_others_have_their_turn() {
        let mut turn = Turn::default();
        let mut turns = 0;
        for _ in 0..1_000 {
            turns += usize::from(turn.is_over());
            turn.given(16 * 1024);
        }
        assert_eq!(turns, 1_000 * 16 * 1024 / IN_A_ROW - 1);
        // A pause of its own begins a turn, so that one that waits for its app gives up nothing.
        let mut slow = Turn::default();
        for _ in 0..1_000 {
            assert!(!slow.is_over());
            slow.given(16 * 1024);
            slow = Turn::default();
        }
    }
}
