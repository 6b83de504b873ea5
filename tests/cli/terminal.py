#!/usr/bin/env python3
"""terminal.py COLUMNS LINE COMMAND...: runs COMMAND at a terminal of its own and types LINE when it asks for something
(its words end with ": "). Prints what the terminal showed; ends with the command's exit code, or with 124 when it did
not end within 20 s."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

columns, line, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.execvp(command[0], command)
shown, typed, ends = b"", False, time.monotonic() + 20
late = False
while True:
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
    if not typed and shown.endswith(b": "):
        typed = True
        os.write(terminal, line.encode() + b"\n")
sys.stdout.buffer.write(shown.replace(b"\r\n", b"\n"))
sys.stdout.flush()
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(124 if late else code)
