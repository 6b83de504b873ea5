//! WebSocket frames (RFC 6455) of up to 125 bytes, which is all that a test says.

use tokio::io::{AsyncRead, AsyncReadExt as _};

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;

/// One whole frame; a client's are masked.
pub fn frame(kind: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(125).min(125);
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut out = vec![0x80 | kind, masked | length];
    out.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    let payload = payload.iter().take(usize::from(length)).enumerate();
    out.extend(payload.map(|(at, byte)| byte ^ key[at % 4]));
    out
}

/// The next frame's kind and payload, unmasked.
///
/// # Errors
/// The connection's, its end, and a frame that is longer than these are.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    from.read_exact(&mut head).await?;
    let length = usize::from(head[1] & 0x7f);
    if length > 125 {
        return Err(std::io::Error::other("a frame longer than 125 bytes"));
    }
    let mut key = [0; 4];
    if head[1] & 0x80 != 0 {
        from.read_exact(&mut key).await?;
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= key[at % 4];
    }
    Ok((head[0] & 0x0f, payload))
}
