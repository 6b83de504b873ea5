//! Requests as the edge sends them: a head, and a body of a known length or in chunks, read as it comes.

use std::collections::BTreeMap;
use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;

/// Larger heads are nobody's.
const LINE: u64 = 16 << 10;

pub struct Request {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
}

impl Request {
    /// The next one, or nothing where the connection ends between two.
    pub async fn read(from: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let Some(first) = line(from).await? else {
            return Ok(None);
        };
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut request = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            headers: BTreeMap::new(),
        };
        loop {
            let header = line(from).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let Some((name, value)) = header.split_once(':') else {
                return Ok(Some(request));
            };
            let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
            request.headers.insert(name, value);
        }
    }

    /// The last piece of its path, which is its number.
    pub fn number(&self) -> u64 {
        let last = self.path.rsplit('/').next();
        last.and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// A number of its query.
    pub fn asks(&self, name: &str, default: u64) -> u64 {
        let asked = self.query.get(name).and_then(|v| v.parse().ok());
        asked.unwrap_or(default)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Reads its body piece by piece.
    pub async fn body(
        &self,
        from: &mut BufReader<TcpStream>,
        mut piece: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        if self.header("transfer-encoding").is_empty() {
            let length = self.header("content-length").parse().unwrap_or(0);
            return take(from, length, &mut piece).await;
        }
        loop {
            let head = line(from).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = head.split(';').next().unwrap_or("").trim();
            let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            take(from, size, &mut piece).await?;
            // The end of the piece, or of the (empty) trailers.
            line(from).await?;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

async fn take(
    from: &mut BufReader<TcpStream>,
    mut left: u64,
    piece: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    while left > 0 {
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = from.read(&mut buffer[..most]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        piece(&buffer[..count]);
        left -= count as u64;
    }
    Ok(())
}

async fn line(from: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut text = String::new();
    let read = from.take(LINE).read_line(&mut text).await?;
    Ok((read > 0).then(|| text.trim_end().to_owned()))
}
