//! F5 and F8 over the real daemon and its edge: a route of the settings gets
//! its certificate by itself, and a new one while clients go on asking.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::support::acme::Acme;
use crate::support::freehold::Freehold;
use crate::support::load::Load;
use crate::support::until::{secs, until};

const HOST: &str = "legacy.test";
/// How long the certificates of this test live. A third of it is what a busy machine has for an order.
const LIFE: u64 = 45;

/// An upstream that says hello to everybody, for as long as they stay.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || hello(stream.unwrap()));
        }
    });
    address
}

fn hello(mut stream: TcpStream) {
    let mut asked = Vec::new();
    let mut buffer = [0u8; 4096];
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 {
            return;
        }
        asked.extend_from_slice(&buffer[..n]);
        while let Some(end) = asked.windows(4).position(|w| w == b"\r\n\r\n") {
            asked.drain(..end + 4);
            if stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                .is_err()
            {
                return;
            }
        }
    }
}

/// The leaf a new client is shown.
fn shown(address: Ipv4Addr) -> Result<String, String> {
    let out = Command::new("openssl")
        .args(["s_client", "-connect", &format!("{address}:443")])
        .args(["-servername", HOST])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let begin = text.find("-----BEGIN CERTIFICATE-----");
    let end = text.find("-----END CERTIFICATE-----");
    match (begin, end) {
        (Some(begin), Some(end)) => Ok(text[begin..end].to_owned()),
        _ => Err("no certificate was shown".into()),
    }
}

fn another(address: Ipv4Addr, than: &str) -> String {
    until("another certificate", secs(LIFE + 60), || {
        let now = shown(address)?;
        if now == than {
            Err("still the same".into())
        } else {
            Ok(now)
        }
    })
}

#[test]
fn f5_the_edge_serves_a_renewed_certificate_and_f8_survives_kill_9_in_an_order() {
    let mut fh = Freehold::new();
    let acme = Acme::start(&fh.path("acme"), fh.address, secs(LIFE));
    fh.configure(&format!(
        "[acme]\ndirectory = \"{}\"\nca_file = \"{}\"\nresolver = \"{}\"\n[[route]]\nhost = \"{HOST}\"\nupstream = \"http://{}\"\n",
        acme.directory,
        acme.ca_file.display(),
        acme.resolver,
        upstream(),
    ));
    let roots = fh.path("public-root.pem");
    acme.save_root(&roots);
    fh.start();
    let edge = fh.edge(&roots);
    until("the route to answer", secs(120), || {
        let answer = edge.get(&format!("https://{HOST}/")).send()?;
        if answer.text() == "hello" {
            Ok(())
        } else {
            Err(format!("{}: {}", answer.status, answer.text()))
        }
    });

    let first = shown(fh.address).unwrap();
    let load = Load::start(&edge, &format!("https://{HOST}/"), 25, |body| {
        body == "hello"
    });
    let second = another(fh.address, &first);
    // Visitors go on for a while with the new one.
    std::thread::sleep(secs(1));
    load.finish().assert_flawless(100);

    // The daemon kills itself in the next renewal; the one after it ends the order.
    let point = "certs.order.finalizing.after";
    fh.arm(point);
    fh.crashed(point, secs(LIFE + 60));
    another(fh.address, &second);
    let answer = edge.get(&format!("https://{HOST}/")).send().unwrap();
    assert_eq!(answer.text(), "hello");
}
