//! Grammar: the bytes of a head of HTTP/1, told apart quickly.
use memchr::memchr;

/// Without the blanks that may stand around a value.
pub(super) fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Names and values of the lines that have a colon.
pub(super) fn fields_of(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = memchr(b':', line)?;
        Some((&line[..colon], trimmed(&line[colon + 1..])))
    })
}

/// How many control characters there are, tabs apart. Written so that it is done for many bytes at once.
pub(super) fn controls(bytes: &[u8]) -> usize {
    let of = |byte: &u8| u8::from((*byte < b' ') & (*byte != b'\t') | (*byte == 0x7f));
    let blocks = bytes.chunks(128);
    blocks
        .map(|block| usize::from(block.iter().map(of).sum::<u8>()))
        .sum()
}

const TOKEN: u8 = 1;
const PLAIN: u8 = 2;

/// Which bytes make up names and methods, and which a target that needs no second look.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let word = b.is_ascii_alphanumeric();
        let token = matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        let plain = matches!(
            b,
            b'/' | b'?'
                | b'%'
                | b'&'
                | b'='
                | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b':'
                | b'@'
        );
        if word || token {
            kinds[byte] |= TOKEN;
        }
        if word || plain {
            kinds[byte] |= PLAIN;
        }
        byte += 1;
    }
    kinds
};

/// Whether a byte may stand in a name (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    KINDS[usize::from(byte)] & TOKEN != 0
}

pub(super) fn is_plain(byte: u8) -> bool {
    KINDS[usize::from(byte)] & PLAIN != 0
}
