//! Something on the box that is not an app: an HTTP server that answers
//! every request with one word.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

/// Starts it; it ends with the test. Gives its port.
pub fn answering(word: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut head = [0; 8192];
                if stream.read(&mut head).is_ok_and(|read| read == 0) {
                    return;
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", word.len());
                stream
                    .write_all(format!("{head}Connection: close\r\n\r\n{word}").as_bytes())
                    .ok();
            });
        }
    });
    port
}
