#!/usr/bin/env python3
"""terminal.py COLUMNS [WORDS LINE]... -- COMMAND...: runs COMMAND at a terminal of its own, 24 lines high, and types each
LINE once what is shown ends with its WORDS, in their order. A LINE of the form "!size LINES COLUMNS" resizes the terminal
instead. Prints what the terminal showed; ends with the command's exit code, or with 124 when it did not end within 90 s.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time


def resize(terminal, lines, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


split = sys.argv.index("--")
columns, talk, command = int(sys.argv[1]), sys.argv[2:split], sys.argv[split + 1 :]
talk = list(zip(talk[::2], talk[1::2]))
child, terminal = pty.fork()
if child == 0:
    resize(0, 24, columns)
    os.execvp(command[0], command)
shown, since, ends = b"", b"", time.monotonic() + 90
late = False
while True:
    while talk and since.endswith(talk[0][0].encode()):
        line = talk.pop(0)[1]
        if line.startswith("!size "):
            resize(terminal, *map(int, line.split()[1:]))
            continue
        since = b""
        os.write(terminal, line.encode() + b"\n")
    if not select.select([terminal], [], [], max(0, ends - time.monotonic()))[0] or time.monotonic() > ends:
        os.kill(child, signal.SIGKILL)
        late = True
        break
    try:
        more = os.read(terminal, 65536)
    except OSError:  # the last holder of the other end is gone
        break
    if not more:
        break
    shown += more
    since += more
sys.stdout.buffer.write(shown.replace(b"\r\n", b"\n"))
sys.stdout.flush()
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(124 if late else code)
