//! A wire between the box and a store, cut on command in the middle of an object on its way back, or silent in the middle
//! of one on its way here or there: what no real store does when asked.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub struct Wire {
    port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    store: String,
    /// Bytes of dumps that still come back; below zero for all.
    left: AtomicI64,
    cut: AtomicBool,
    /// Where it would be cut it says nothing any more, and stays.
    mute: AtomicBool,
    /// Parts of uploads from this number on are taken, and do not arrive; zero for none.
    held_from: AtomicU32,
    holds: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Wire {
    /// A wire to `endpoint`, `http://host:port`.
    pub fn to(endpoint: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            store: endpoint.trim_start_matches("http://").to_owned(),
            left: AtomicI64::new(-1),
            cut: AtomicBool::new(false),
            mute: AtomicBool::new(false),
            held_from: AtomicU32::new(0),
            holds: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let shared = Arc::clone(&inner);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let shared = Arc::clone(&shared);
                // A connection that breaks is what this is for.
                std::thread::spawn(move || shared.carry(client?));
            }
        });
        Self { port, inner }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Cuts the wire when so many bytes of a dump came back; nobody answers from then on.
    pub fn cut_after(&self, bytes: i64) {
        self.inner.left.store(bytes, Ordering::SeqCst);
    }

    /// Of a dump that comes back nothing comes after so many bytes, for as long as it is waited for.
    pub fn mute_after(&self, bytes: i64) {
        self.inner.mute.store(true, Ordering::SeqCst);
        self.cut_after(bytes);
    }

    pub fn is_cut(&self) -> bool {
        self.inner.cut.load(Ordering::SeqCst)
    }

    /// Takes the parts of uploads from this number on, and nobody ever says a word of them.
    pub fn hold_parts_from(&self, number: u32) {
        self.inner.held_from.store(number, Ordering::SeqCst);
    }

    /// Whether it has held something.
    pub fn holds(&self) -> bool {
        self.inner.holds.load(Ordering::SeqCst)
    }

    pub fn mend(&self) {
        self.inner.held_from.store(0, Ordering::SeqCst);
        self.inner.mute.store(false, Ordering::SeqCst);
        self.inner.holds.store(false, Ordering::SeqCst);
        self.inner.left.store(-1, Ordering::SeqCst);
        self.inner.cut.store(false, Ordering::SeqCst);
    }
}

impl Inner {
    fn carry(self: Arc<Self>, mut client: TcpStream) -> std::io::Result<()> {
        if self.cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut store = TcpStream::connect(&self.store)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.extend([client.try_clone()?, store.try_clone()?]);
        drop(open);
        let is_dump = Arc::new(AtomicBool::new(false));
        let (this, dump) = (Arc::clone(&self), Arc::clone(&is_dump));
        let (mut answers, mut back) = (store.try_clone()?, client.try_clone()?);
        std::thread::spawn(move || this.back(&mut answers, &mut back, &dump));
        let mut buffer = [0; 16 << 10];
        loop {
            let read = client.read(&mut buffer)?;
            if read == 0 {
                return store.shutdown(Shutdown::Write);
            }
            let words = String::from_utf8_lossy(&buffer[..read]);
            let line = words.lines().next().unwrap_or_default();
            is_dump.store(
                line.starts_with("GET ") && line.contains(".dump?"),
                Ordering::SeqCst,
            );
            if self.is_held(line) {
                self.holds.store(true, Ordering::SeqCst);
                // Until whoever sends it gives up.
                while client.read(&mut buffer)? > 0 {}
                return store.shutdown(Shutdown::Both);
            }
            store.write_all(&buffer[..read])?;
        }
    }

    fn is_held(&self, line: &str) -> bool {
        let from = self.held_from.load(Ordering::SeqCst);
        let part = line.strip_prefix("PUT ").and_then(|rest| {
            let (_, number) = rest.split_once("partNumber=")?;
            let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u32>().ok()
        });
        from > 0 && part.is_some_and(|part| part >= from)
    }

    fn back(
        &self,
        store: &mut TcpStream,
        client: &mut TcpStream,
        is_dump: &AtomicBool,
    ) -> std::io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            let read = store.read(&mut buffer)?;
            if read == 0 {
                return client.shutdown(Shutdown::Write);
            }
            let left = self.left.load(Ordering::SeqCst);
            let Ok(left) = usize::try_from(left) else {
                client.write_all(&buffer[..read])?;
                continue;
            };
            if !is_dump.load(Ordering::SeqCst) {
                client.write_all(&buffer[..read])?;
                continue;
            }
            client.write_all(&buffer[..read.min(left)])?;
            let left = i64::try_from(left.saturating_sub(read)).unwrap();
            self.left.store(left, Ordering::SeqCst);
            if left == 0 && self.mute.load(Ordering::SeqCst) {
                self.holds.store(true, Ordering::SeqCst);
                // The other direction ends with whoever waits.
                return Ok(());
            }
            if left == 0 {
                self.cut();
            }
        }
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for end in open.drain(..) {
            // One that is closed already needs no cutting.
            end.shutdown(Shutdown::Both).ok();
        }
    }
}
