//! Whether whoever takes connections now answers: one request through the same socket as everybody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A box that is busy may let it wait for the processor; who comes meanwhile waits in the sockets.
const WITHIN: Duration = Duration::from_secs(15);
/// A name that nothing is served under: what is asked for is an answer, not a page.
const QUESTION: &str = "GET / HTTP/1.1\r\nHost: handover.invalid\r\nConnection: close\r\n\r\n";
/// In front of it where proxies have to say whom they speak for; where none has to, that is no HTTP, which is answered too.
const FROM_A_PROXY: &str = "PROXY UNKNOWN\r\n";

/// Asks at `http`, once, whether somebody answers.
///
/// # Errors
/// What came instead, as a sentence.
pub async fn answers(http: SocketAddr, proxies: bool) -> Result<(), String> {
    match tokio::time::timeout(WITHIN, ask(http, proxies)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(format!(
            "it takes connections on {http} and closes them without an answer"
        )),
        Ok(Err(error)) => Err(format!("it does not serve {http}: {error}")),
        Err(_) => Err(format!(
            "it did not answer a request on {http} within {} s",
            WITHIN.as_secs()
        )),
    }
}

async fn ask(listens: SocketAddr, proxies: bool) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(&*reachable(listens)).await?;
    if proxies {
        stream.write_all(FROM_A_PROXY.as_bytes()).await?;
    }
    stream.write_all(QUESTION.as_bytes()).await?;
    let mut answer = [0; 9];
    match stream.read_exact(&mut answer).await {
        Ok(_) => Ok(&answer == b"HTTP/1.1 "),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where a socket is reached that listens on all addresses: a box without IPv6 has one for both all the same.
fn reachable(listens: SocketAddr) -> Vec<SocketAddr> {
    let all = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![Ipv4Addr::LOCALHOST.into()],
        IpAddr::V6(ip) if ip.is_unspecified() => {
            vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
        }
        ip => vec![ip],
    };
    let port = listens.port();
    all.into_iter()
        .map(|ip: IpAddr| SocketAddr::new(ip, port))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn n4_an_answer_is_an_answer_and_silence_is_not() {
        use tokio::net::TcpListener;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in ["HTTP/1.1 404 Not Found\r\n\r\n", "", "SSH-2.0-x\r\n"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 64];
                let read = stream.read(&mut asked).await.unwrap();
                assert!(read > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert_eq!(answers(address, false).await, Ok(()));
        assert!(answers(address, false).await.is_err());
        assert!(answers(address, true).await.is_err());
        // Nobody is there any more.
        assert!(answers(address, false).await.is_err());
    }

    #[test]
    fn n4_a_socket_on_all_addresses_is_asked_on_this_box() {
        let of = |a: &str| {
            let all = reachable(a.parse().unwrap()).into_iter();
            all.map(|a| a.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of("[::]:80"), ["[::1]:80", "127.0.0.1:80"]);
        assert_eq!(of("0.0.0.0:80"), ["127.0.0.1:80"]);
        assert_eq!(of("192.0.2.1:80"), ["192.0.2.1:80"]);
    }
}
