//! WebSocket frames, followed only so far as to know where one ends (RFC 6455, 5.2).

/// Where a stream of frames stands.
#[derive(Default)]
pub(super) struct Frames {
    head: Vec<u8>,
    payload_left: u64,
    /// A close frame has passed; nothing may follow it.
    pub(super) closed: bool,
}

impl Frames {
    pub(super) fn at_boundary(&self) -> bool {
        self.head.is_empty() && self.payload_left == 0
    }

    /// These bytes of the stream have been passed on.
    pub(super) fn passed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skip = usize::try_from(self.payload_left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.payload_left -= skip as u64;
                bytes = &bytes[skip..];
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some(payload) = payload(&self.head) {
                self.closed |= self.head[0] & 0x0f == 8;
                self.payload_left = payload;
                self.head.clear();
            }
        }
    }
}

/// The payload's length, once the head is whole.
fn payload(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    let (extra, length) = match second & 0x7f {
        126 => (
            2,
            head.get(2..4).map(|bytes| {
                bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
            }),
        ),
        127 => (
            8,
            head.get(2..10).map(|bytes| {
                bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
            }),
        ),
        short => (0, Some(u64::from(short))),
    };
    length.filter(|_| head.len() == 2 + extra + mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f5_boundaries_are_found_however_the_bytes_are_cut() {
        let mut stream = vec![0x81, 5];
        stream.extend(b"hello");
        stream.extend([0x82, 126, 0x01, 0x00]);
        stream.extend([7; 256]);
        stream.extend([0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4]);
        stream.extend([7; 65_536]);
        stream.extend([0x89, 0]);
        let ends = [7, 7 + 4 + 256, 7 + 4 + 256 + 14 + 65_536, stream.len()];
        for piece in [1, 2, 3, 7, 1_000, stream.len()] {
            let mut frames = Frames::default();
            let mut passed = 0;
            for bytes in stream.chunks(piece) {
                frames.passed(bytes);
                passed += bytes.len();
                assert_eq!(
                    frames.at_boundary(),
                    ends.contains(&passed),
                    "{passed} in pieces of {piece}"
                );
            }
            assert!(!frames.closed);
        }
        let mut frames = Frames::default();
        frames.passed(&[0x88, 2, 3, 0xe8]);
        assert!(frames.closed && frames.at_boundary());
    }
}
