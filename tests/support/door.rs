//! A door before the engine: its socket forwarded to one of our own, which a test may shut and open again. The engine
//! itself, which others use too, never hears of it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::freehold::engine;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Both ends of all that goes through; nothing when shut.
type Passing = Arc<Mutex<Option<HashMap<u64, [UnixStream; 2]>>>>;

pub struct Door {
    socket: PathBuf,
    engine: PathBuf,
    passing: Passing,
}

impl Door {
    /// Opens one at `socket`.
    pub fn open(socket: &Path) -> Self {
        let engine = engine();
        let door = Self {
            socket: socket.to_owned(),
            engine: engine.strip_prefix("unix://").unwrap().into(),
            passing: Arc::default(),
        };
        door.reopen();
        door
    }

    /// As `[docker] host` names it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Nobody gets through, and who was on the way is cut off, as when the engine is stopped.
    pub fn shut(&self) {
        std::fs::remove_file(&self.socket).unwrap();
        let passing = self.passing.lock().unwrap().take();
        for end in passing.unwrap().into_values().flatten() {
            end.shutdown(Shutdown::Both).ok();
        }
    }

    /// As before.
    pub fn reopen(&self) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        let (engine, passing) = (self.engine.clone(), Arc::clone(&self.passing));
        *passing.lock().unwrap() = Some(HashMap::new());
        std::thread::spawn(move || {
            for ours in listener.incoming().map_while(Result::ok) {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                let theirs = UnixStream::connect(&engine).unwrap();
                let mut all = passing.lock().unwrap();
                let Some(all) = all.as_mut() else { return };
                all.insert(number, [twin(&ours), twin(&theirs)]);
                let passing = Arc::clone(&passing);
                std::thread::spawn(move || {
                    let (from, to) = (twin(&theirs), twin(&ours));
                    let answers = std::thread::spawn(move || carry(from, to));
                    carry(ours, theirs);
                    answers.join().unwrap();
                    if let Some(all) = passing.lock().unwrap().as_mut() {
                        all.remove(&number);
                    }
                });
            }
        });
    }
}

fn twin(stream: &UnixStream) -> UnixStream {
    stream.try_clone().unwrap()
}

/// Carries bytes one way until their end.
fn carry(mut from: UnixStream, mut to: UnixStream) {
    let mut piece = [0; 64 << 10];
    while let Ok(read) = from.read(&mut piece) {
        if read == 0 || to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}
