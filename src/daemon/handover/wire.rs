//! What two daemons say to each other during a handover: a socket pair, the successor's standard input.
//!
//! First come the listening sockets, as descriptors beside a line that says what they are; then lines of JSON each way.
//! What is said before the other one is confirmed is answered; what is said after it is news, of which one that does not know
//! it, because it is of another release, takes no notice. The first release of all took such a word for the end: it is told
//! none, and is known by its [`Serving`], which does not say where HTTPS is. The end of the wire is the end of the other.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Std;
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::counted::Counted;
use super::leads::Lead;
use crate::base::clock::UnixMs;

/// Descriptors that are given at once, at most: two sockets of our own, and up to so many that systemd holds.
const MOST_SOCKETS: usize = 32;
/// Bytes of the first line.
const FIRST: usize = 16 * 1024;
/// For the first line to arrive once the successor looks for it.
const FIRST_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of any other line.
const LINE: u64 = 1024 * 1024;

/// What the descriptors are: those of plain HTTP, those of HTTPS, then `edge.sock` and `freehold.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    pub http: usize,
    pub https: usize,
    /// Somebody else holds them for us.
    pub held: bool,
    /// Where the last two lie.
    pub run_dir: PathBuf,
    /// The file that the next successor is started from, whatever this one was.
    pub program: PathBuf,
    /// What the one that goes keeps everything in.
    #[serde(default)]
    pub data_dir: Option<PathBuf>,
}

/// What the one that goes says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The lease is free: take it and serve.
    Take {
        began: UnixMs,
        /// Why another one could not, whose place this one takes.
        failed: Option<String>,
        /// How many serve on what they have by then, this one included.
        leaving: u32,
    },
    /// You are the one that everybody finds.
    Confirmed,
    /// What was counted here since the last such word, or since the control plane here wrote figures down.
    Counted(Vec<Counted>),
}

/// What the successor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It could take over.
    Checked,
    /// It takes connections there.
    Serving(Serving),
    /// It cannot, and ends.
    Failed(String),
    /// Where these routes lead now.
    Leads(Vec<Lead>),
    /// It is to stop, and whoever serves beside it has so many milliseconds.
    Hurry(u64),
}

/// Where a successor takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    pub http: SocketAddr,
    #[serde(default)]
    pub https: Option<SocketAddr>,
}

/// Sends the descriptors, in order, and what they are.
///
/// # Errors
/// The system's.
pub fn give(wire: &Std, given: &Given, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    if sockets.len() > MOST_SOCKETS {
        return Err(io::Error::other(format!(
            "{} sockets are more than the {MOST_SOCKETS} that can be handed over",
            sockets.len()
        )));
    }
    let mut line = serde_json::to_vec(given).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !beside.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other("the sockets do not fit into one message"));
    }
    let sent = sendmsg(
        wire,
        &[IoSlice::new(&line)],
        &mut beside,
        SendFlags::NOSIGNAL,
    )?;
    if sent != line.len() {
        return Err(io::Error::from(io::ErrorKind::WriteZero));
    }
    Ok(())
}

/// Takes what [`give`] sent.
///
/// # Errors
/// The system's, or that it was something else.
pub fn take(wire: &Std) -> io::Result<(Given, Vec<OwnedFd>)> {
    wire.set_read_timeout(Some(FIRST_WITHIN))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut line = vec![0; FIRST];
    let got = recvmsg(
        wire,
        &mut [IoSliceMut::new(&mut line)],
        &mut beside,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut sockets = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    let line = line.get(..got.bytes).unwrap_or_default();
    let given: Given = serde_json::from_slice(line).map_err(io::Error::other)?;
    if sockets.len() != given.http + given.https + 2 {
        return Err(io::Error::other(format!(
            "{} sockets came, and not the {} that were told of",
            sockets.len(),
            given.http + given.https + 2
        )));
    }
    Ok((given, sockets))
}

/// One end, for lines.
pub struct Wire {
    pub ear: Ear,
    pub mouth: Mouth,
}

/// The half of it that hears.
pub struct Ear(BufReader<OwnedReadHalf>);

/// The half of it that says.
pub struct Mouth(OwnedWriteHalf);

impl Wire {
    /// # Errors
    /// The system's.
    pub fn new(stream: Std) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(stream)?.into_split();
        Ok(Self {
            ear: Ear(BufReader::new(read)),
            mouth: Mouth(write),
        })
    }

    /// # Errors
    /// That the other is gone.
    pub async fn say<T: Serialize>(&mut self, word: &T) -> io::Result<()> {
        self.mouth.say(word).await
    }

    /// # Errors
    /// As [`Ear::hear`].
    pub async fn hear<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        self.ear.hear().await
    }
}

impl Mouth {
    /// To be awaited to its end: half a line would spoil the next.
    ///
    /// # Errors
    /// That the other is gone.
    pub async fn say<T: Serialize>(&mut self, word: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(word).map_err(io::Error::other)?;
        line.push(b'\n');
        self.0.write_all(&line).await
    }
}

impl Ear {
    /// The next word; `None` once the other is gone. To be awaited to its end: half a line would be lost.
    ///
    /// # Errors
    /// The system's, or `InvalidData` for a word that none of ours says.
    pub async fn hear<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        use tokio::io::AsyncReadExt;
        let mut line = String::new();
        let read = (&mut self.0).take(LINE).read_line(&mut line).await?;
        if read == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The next word that is known; `None` once nothing more comes.
    pub async fn news<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            match self.hear().await {
                Ok(word) => return word,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::debug!(%error, "a word of another release is not understood");
                }
                Err(_) => return None,
            }
        }
    }
}

/// The descriptors of all, in the order of [`Given`].
pub fn descriptors<'a>(all: impl IntoIterator<Item = &'a (impl AsFd + 'a)>) -> Vec<BorrowedFd<'a>> {
    all.into_iter().map(AsFd::as_fd).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn n4_sockets_go_over_with_those_who_wait_in_them() {
        let (one, other) = Std::pair().unwrap();
        let listeners: Vec<TcpListener> = (0..4)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let mut waiting = TcpStream::connect(listeners[1].local_addr().unwrap()).unwrap();
        let given = Given {
            http: 1,
            https: 1,
            held: true,
            run_dir: "/run/freehold".into(),
            program: "/usr/local/bin/freehold".into(),
            data_dir: Some("/var/lib/freehold".into()),
        };
        give(&one, &given, &descriptors(&listeners)).unwrap();
        drop(listeners);
        let (told, sockets) = take(&other).unwrap();
        assert_eq!(told, given);
        let mut sockets = sockets.into_iter().map(TcpListener::from);
        let (mut accepted, _) = sockets.nth(1).unwrap().accept().unwrap();
        accepted.write_all(b"hello").unwrap();
        drop(accepted);
        let mut said = String::new();
        waiting.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello");

        // Then lines, and the end.
        let (mut one, mut other) = (Wire::new(one).unwrap(), Wire::new(other).unwrap());
        other
            .say(&Reply::Failed("two\nlines".into()))
            .await
            .unwrap();
        assert_eq!(
            one.hear::<Reply>().await.unwrap(),
            Some(Reply::Failed("two\nlines".into()))
        );
        // What a later release says is passed over.
        one.say(&"something new").await.unwrap();
        one.say(&Word::Confirmed).await.unwrap();
        assert_eq!(other.ear.news::<Word>().await, Some(Word::Confirmed));
        drop(one);
        assert_eq!(other.hear::<Word>().await.unwrap(), None);
    }

    #[test]
    fn n4_what_is_no_handover_is_refused() {
        let (mut one, other) = Std::pair().unwrap();
        one.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(take(&other).is_err());
        drop(one);
        assert!(take(&other).is_err());
    }
}
