#!/usr/bin/env python3
"""A git host over HTTPS: git's own http-backend behind a small CGI bridge.

    git_host.py ADDRESS PORT CERTIFICATE KEY ROOT [USER:PASSWORD]

Serves every repository under ROOT, and asks for basic authorization when USER:PASSWORD is given. Web hooks are left to
the test, which plays the host's part there.
"""

import base64
import hmac
import http.server
import os
import ssl
import subprocess
import sys
from urllib.parse import unquote


class Bridge(http.server.BaseHTTPRequestHandler):
    """One request, one run of `git http-backend`."""

    protocol_version = "HTTP/1.1"
    root = ""
    login = None

    def answer(self, status, headers, body):
        self.send_response(int(status))
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def allowed(self):
        if not self.login:
            return True
        wanted = "Basic " + base64.b64encode(self.login.encode()).decode()
        return hmac.compare_digest(wanted, self.headers.get("Authorization", ""))

    def run(self):
        body = self.body()
        if not self.allowed():
            self.answer(401, [("WWW-Authenticate", 'Basic realm="git"')], b"")
            return
        path, _, query = self.path.partition("?")
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            stdout=subprocess.PIPE,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": self.root,
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "CONTENT_LENGTH": str(len(body)),
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "PATH_INFO": unquote(path),
                "QUERY_STRING": query,
                "REMOTE_ADDR": self.client_address[0],
                "REMOTE_USER": "tester",
                "REQUEST_METHOD": self.command,
            },
        )
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n") if ": " in line]
        status = dict(headers).get("Status", "200 OK").split()[0]
        self.answer(status, [h for h in headers if h[0] not in ("Status", "Content-Length")], rest)

    do_GET = run
    do_POST = run


def main():
    address, port, certificate, key, root = sys.argv[1:6]
    Bridge.root = root
    Bridge.login = sys.argv[6] if len(sys.argv) > 6 else None
    server = http.server.ThreadingHTTPServer((address, int(port)), Bridge)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
