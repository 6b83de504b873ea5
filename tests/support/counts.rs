//! An app that counts the rows of its database's table `kept`: over a connection of its own for each request, which it needs
//! for a while. By Python's own library alone, so that an image needs nothing from elsewhere.

/// A folder that can be deployed.
pub const FILES: [(&str, &str); 3] = [
    ("Dockerfile", DOCKERFILE),
    ("app.py", COUNTS),
    ("freehold.toml", SETTINGS),
];
/// Each request has a connection to the server, which has a hundred.
const SETTINGS: &str = "[processes.web]\nport = 8000\nhealth = \"/healthz\"\nconcurrency = 40\n";
const COUNTS: &str = r#"
import base64, hashlib, hmac, http.server, os, secrets, socket, struct, urllib.parse

place = urllib.parse.urlsplit(os.environ["DATABASE_URL"])
word = urllib.parse.unquote(place.password).encode()
user, database = urllib.parse.unquote(place.username), place.path.lstrip("/")

class Database:
    def __init__(self):
        self.stream = socket.create_connection((place.hostname, place.port or 5432), 10)
        self.file = self.stream.makefile("rb")
        start = struct.pack("!i", 196608) + f"user\0{user}\0database\0{database}\0\0".encode()
        self.stream.sendall(struct.pack("!i", len(start) + 4) + start)
        mine = base64.b64encode(secrets.token_bytes(18)).decode()
        assert struct.unpack("!i", self.read(b"R")[:4]) == (10,)
        first = f"n=,r={mine}"
        body = f"n,,{first}".encode()
        self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(body)) + body)
        theirs = self.read(b"R")[4:].decode()
        said = dict(one.split("=", 1) for one in theirs.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", word, base64.b64decode(said["s"]), int(said["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        last = f"c=biws,r={said['r']}"
        signed = hmac.digest(hashlib.sha256(key).digest(), f"{first},{theirs},{last}".encode(), "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signed))).decode()
        self.send(b"p", f"{last},p={proof}".encode())
        self.read(b"Z")

    def send(self, kind, body):
        self.stream.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def read(self, wanted):
        while True:
            head = self.file.read(5)
            if len(head) < 5:
                raise IOError("the server hung up")
            body = self.file.read(struct.unpack("!i", head[1:])[0] - 4)
            if head[:1] == b"E":
                raise IOError(body.decode(errors="replace"))
            if head[:1] == wanted:
                return body

    def ask(self, sql):
        self.send(b"Q", sql.encode() + b"\0")
        row = self.read(b"D")
        self.read(b"Z")
        return row[6:].decode()

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, said = 200, "well"
        if self.path != "/healthz":
            try:
                base = Database()
                base.ask("SELECT pg_sleep(0.05) IS NULL")
                said = base.ask("SELECT count(*) FROM kept")
                base.stream.close()
            except Exception as error:
                status, said = 500, repr(error)
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Answer).serve_forever()
"#;
const DOCKERFILE: &str =
    "FROM python:3.13-slim\nCOPY app.py .\nCMD [\"python\", \"-u\", \"app.py\"]\n";
