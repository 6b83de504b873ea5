#!/usr/bin/env python3
"""Runs a browser's driver in a network of its own, in which nothing ever changes.

    apart.py PORT ADDRESS -- COMMAND [ARG ...]

Every network an engine makes or removes is a change of the machine's interfaces, and chromium drops what it is loading
at each (ERR_NETWORK_CHANGED), answers to forms that were handled among them. So COMMAND gets a network namespace with
nothing but a loopback. Two ways lead through its wall, both relayed here byte by byte: connections to 127.0.0.1:PORT
from outside reach the same port inside, where the driver listens; connections to ADDRESS, ports 80 and 443, from inside
reach the same outside, where the box under test listens. Needs root.

SIGTERM and SIGINT go on to the command; this ends when the command ends, with its code.
"""

import ctypes
import os
import queue
import signal
import socket
import subprocess
import sys
import threading

CLONE_NEWNET = 0x40000000


def listen(address, port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(1024)
    return sock


def start(work, *arguments):
    threading.Thread(target=work, args=arguments, daemon=True).start()


def pump(source, sink):
    """One direction, until the source ends; the end is passed on."""
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # Cut on one side: cut on the other too.
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def relay(listener):
    """Takes each connection on to the same address; it is made in the network of the thread this runs in."""
    place = listener.getsockname()
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection(place)
        except OSError as error:
            print(f"apart.py: {place}: {error}", file=sys.stderr, flush=True)
            near.close()
            continue
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start(pump, near, far)
        start(pump, far, near)


def relay_all(listeners):
    while True:
        start(relay, listeners.get())


def main(arguments):
    if len(arguments) < 4 or arguments[2] != "--":
        sys.exit(__doc__)
    port, address, command = int(arguments[0]), arguments[1], arguments[3:]
    # A thread stays in the network it was started in, and so do a listener and a process.
    driver, inside = listen("127.0.0.1", port), queue.Queue()
    start(relay_all, inside)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        sys.exit(f"apart.py: no network of its own: {os.strerror(ctypes.get_errno())}; run it as root")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for number in (80, 443):
        inside.put(listen(address, number))
    child = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: child.send_signal(number))
    start(relay, driver)
    sys.exit(child.wait())


if __name__ == "__main__":
    main(sys.argv[1:])
