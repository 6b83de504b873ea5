#!/usr/bin/env python3
"""Holds listening sockets as systemd's socket activation does, and keeps a command running with them.

    hold.py [--pidfile FILE] [--env-file FILE] [NAME=ADDRESS:PORT ...] -- COMMAND [ARG ...]

The sockets are bound once, before the first start, and stay open between runs of the command, so that a connection
made while it is down waits in the backlog. The command finds them as systemd would hand them over: file descriptors
from 3 on, LISTEN_FDS, LISTEN_PID (its own process id) and LISTEN_FDNAMES. It is started again 100 ms after it ends,
however it ends; its process id is written to the pidfile at each start, so that a test can kill just it, and the
environment file (KEY=VALUE lines, may be absent) is read at each start, so that a test can change what the next one sees.
With no socket at all it is kept the same way, and binds its own.

Another process takes the command's place as it does under systemd: by `MAINPID=` on NOTIFY_SOCKET, which is believed only
of the process that has the place. The one before is left alone; what is left of all is killed when the one that has the
place has ended, as systemd does with the rest of a service.

SIGTERM and SIGINT go on to the command, and end the holder once the command has ended (killed after 20 s);
SIGHUP goes on to the command. This file leaves readiness, logging and file-descriptor stores to systemd.
"""

import ctypes
import os
import signal
import socket
import struct
import sys
import tempfile
import time

RESTART_DELAY = 0.1
STOP_TIMEOUT = 20
FIRST_FD = 3
PR_SET_CHILD_SUBREAPER = 36


def bind(spec):
    """A listening socket for `name=address:port`; `[::]` takes IPv4 too, as systemd's default does."""
    name, _, address = spec.partition("=")
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((host, int(port)))
    sock.listen(4096)
    return name, sock


def notify_socket():
    """Where the command says things, as systemd's NOTIFY_SOCKET; each message comes with who sent it."""
    path = os.path.join(tempfile.mkdtemp(prefix="hold-"), "notify")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    sock.setblocking(False)
    os.environ["NOTIFY_SOCKET"] = path
    return sock


def become(command, sockets):
    """In the child: place the descriptors, say so in the environment, and turn into the command."""
    # First out of the way, so that no descriptor lands on one that is still to be placed.
    moved = [os.dup2(s.fileno(), 100 + i) for i, (_, s) in enumerate(sockets)]
    for i, fd in enumerate(moved):
        os.dup2(fd, FIRST_FD + i, inheritable=True)
        os.close(fd)
    if sockets:
        os.environ["LISTEN_FDS"] = str(len(sockets))
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in sockets)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.execvp(command[0], command)


class Holder:
    """The one child at a time, and whether it is still wanted."""

    def __init__(self, sockets, command, pidfile, env_file):
        self.sockets, self.command, self.pidfile, self.env_file = sockets, command, pidfile, env_file
        self.child = None
        self.stop_by = None
        # What a process before left behind comes to us, and not to the machine's first process.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.notify = notify_socket()

    def start(self):
        pid = os.fork()
        if pid == 0:
            try:
                self.read_env_file()
                become(self.command, self.sockets)
            except OSError as error:
                print(f"hold.py: {self.command[0]}: {error}", file=sys.stderr)
            os._exit(127)
        self.has_the_place(pid)

    def has_the_place(self, pid):
        self.child = pid
        if self.pidfile:
            with open(self.pidfile + ".new", "w", encoding="ascii") as file:
                file.write(f"{pid}\n")
            os.replace(self.pidfile + ".new", self.pidfile)

    def read_env_file(self):
        if self.env_file and os.path.exists(self.env_file):
            with open(self.env_file, encoding="utf-8") as file:
                for line in file:
                    key, equals, value = line.rstrip("\n").partition("=")
                    if equals:
                        os.environ[key] = value

    def forward(self, number, _frame):
        if number != signal.SIGHUP:
            self.stop_by = self.stop_by or time.monotonic() + STOP_TIMEOUT
        if self.child and not self.is_gone():
            os.kill(self.child, number)

    def run(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.forward)
        while self.stop_by is None:
            self.start()
            self.wait()
            if self.stop_by is None:
                time.sleep(RESTART_DELAY)

    def wait(self):
        while self.child:
            self.hear()
            pid, status = self.reap()
            # Who gave the place away before it ended has said so by now.
            self.hear()
            if pid == self.child:
                self.child = None
                code = os.waitstatus_to_exitcode(status)
                print(f"hold.py: {self.command[0]} ended with {code}", file=sys.stderr, flush=True)
                self.kill_the_rest()
            elif not pid and self.is_gone():
                # Another of ours was its parent, and has seen its end: systemd would not hear of it either, and waits for
                # the last of the service.
                if children(os.getpid()):
                    time.sleep(0.02)
                    continue
                self.child = None
                print("hold.py: the last one has left", file=sys.stderr, flush=True)
            elif pid:
                print(f"hold.py: process {pid} has left", file=sys.stderr, flush=True)
            elif self.stop_by and time.monotonic() > self.stop_by:
                os.kill(self.child, signal.SIGKILL)
            else:
                time.sleep(0.02)


    def is_gone(self):
        return not os.path.exists(f"/proc/{self.child}")

    def reap(self):
        try:
            return os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0, 0

    def hear(self):
        """Lets another process have the place, if the one that has it says so."""
        while True:
            try:
                message, beside, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(12))
            except BlockingIOError:
                return
            senders = [struct.unpack("3i", data[:12])[0] for _, kind, data in beside if kind == socket.SCM_CREDENTIALS]
            for line in message.decode("utf-8", "replace").splitlines():
                key, _, value = line.partition("=")
                if key == "MAINPID" and value.isdigit() and self.child in senders:
                    print(f"hold.py: process {value} takes the place of {self.child}", file=sys.stderr, flush=True)
                    self.has_the_place(int(value))

    def kill_the_rest(self):
        for child in children(os.getpid()):
            os.kill(child, signal.SIGKILL)


def children(parent):
    """Processes below `parent`, as far as they are its own or were left to it."""
    with open(f"/proc/self/task/{parent}/children", encoding="ascii") as file:
        return [int(pid) for pid in file.read().split()]


def main(arguments):
    files = {"--pidfile": None, "--env-file": None}
    while arguments[:1] and arguments[0] in files:
        files[arguments[0]], arguments = arguments[1], arguments[2:]
    if "--" not in arguments:
        sys.exit(__doc__)
    cut = arguments.index("--")
    sockets = [bind(spec) for spec in arguments[:cut]]
    Holder(sockets, arguments[cut + 1 :], *files.values()).run()


if __name__ == "__main__":
    main(sys.argv[1:])
