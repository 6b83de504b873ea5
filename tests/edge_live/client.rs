//! A client of the edge: HTTP/1.1 over verified TLS, from any address of the loopback, after whatever a proxy says first.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use socket2::{Domain, Socket, Type};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the edge is, and what its clients trust.
pub struct Edge {
    pub address: SocketAddr,
    pub trust: Arc<ClientConfig>,
}

/// A request; `send` it.
pub struct Asked<'a> {
    edge: &'a Edge,
    host: &'a str,
    path: &'a str,
    method: &'a str,
    source: &'a str,
    first: &'a [u8],
    fields: String,
    body: Vec<u8>,
}

pub struct Connection(BufReader<StreamOwned<ClientConnection, TcpStream>>);

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Edge {
    pub fn get<'a>(&'a self, host: &'a str, path: &'a str) -> Asked<'a> {
        Asked {
            edge: self,
            host,
            path,
            method: "GET",
            source: "127.0.0.1",
            first: b"",
            fields: String::new(),
            body: Vec::new(),
        }
    }

    /// A connection that several requests go over.
    pub fn connect(&self, host: &str, source: &str, first: &[u8]) -> io::Result<Connection> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let source: SocketAddr = format!("{source}:0").parse().unwrap();
        socket.bind(&source.into())?;
        socket.connect(&self.address.into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        stream.write_all(first)?;
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let tls = ClientConnection::new(self.trust.clone(), name).unwrap();
        Ok(Connection(BufReader::new(StreamOwned::new(tls, stream))))
    }
}

impl<'a> Asked<'a> {
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub fn post(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.method = "POST";
        self.body = body.into();
        let length = self.body.len().to_string();
        self.field("Content-Length", &length)
    }

    /// As a browser that goes to a page.
    pub fn for_a_page(self) -> Self {
        self.field("Accept", "text/html")
    }

    pub fn from(mut self, source: &'a str) -> Self {
        self.source = source;
        self
    }

    /// The connection begins with these bytes, before TLS.
    pub fn after(mut self, first: &'a [u8]) -> Self {
        self.first = first;
        self
    }

    /// On a connection of its own.
    pub fn send(self) -> io::Result<Answer> {
        let mut connection = self.edge.connect(self.host, self.source, self.first)?;
        self.over(&mut connection)
    }

    pub fn over(self, connection: &mut Connection) -> io::Result<Answer> {
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
            self.method, self.path, self.host, self.fields
        );
        let stream = connection.0.get_mut();
        stream.write_all(&[head.as_bytes(), &self.body].concat())?;
        stream.flush()?;
        connection.answer()
    }
}

impl Connection {
    /// TLS as far as the first byte of a request.
    pub fn shake_hands(&mut self) -> io::Result<()> {
        let StreamOwned { conn, sock } = self.0.get_mut();
        conn.complete_io(sock).map(|_| ())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok());
        let mut answer = Answer {
            status: status.unwrap_or_else(|| panic!("no answer: {first}")),
            fields: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            let value = value.trim().to_owned();
            answer.fields.push((name.to_ascii_lowercase(), value));
        }
        if answer.field("transfer-encoding") == "chunked" {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).unwrap();
                self.take(size, &mut answer.body)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else if let Ok(length) = answer.field("content-length").parse() {
            self.take(length, &mut answer.body)?;
        }
        Ok(answer)
    }

    fn take(&mut self, count: usize, to: &mut Vec<u8>) -> io::Result<()> {
        let mut piece = vec![0; count];
        self.0.read_exact(&mut piece)?;
        to.extend(piece);
        Ok(())
    }
}

impl Answer {
    /// The field's values together; empty without one.
    pub fn field(&self, name: &str) -> String {
        let of_name = self.fields.iter().filter(|(known, _)| known == name);
        let values: Vec<&str> = of_name.map(|(_, value)| value.as_str()).collect();
        values.join(", ")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the app that says what it saw saw this line.
    pub fn saw(&self, line: &str) -> bool {
        self.text().lines().any(|known| known == line)
    }

    /// What it saw of a field.
    pub fn seen(&self, name: &str) -> Option<String> {
        let begin = format!("{name}: ");
        let text = self.text();
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.strip_prefix(&begin)?.to_owned()))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.fields {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "\n{}", self.text())
    }
}
