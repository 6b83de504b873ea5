"""A unix socket between the daemon and its engine that passes everything on and notes each call: when, what, how long.

Invariants: no byte is changed, an upgraded connection (exec, build session) passes raw both ways, and whichever side hangs
up takes the other with it. What a call means is left to the reader of `calls`.
"""
import asyncio, contextlib, re, threading, time

HEAD_LIMIT = 1 << 20
PIECE = 1 << 16


def shape(path):
    """The path without version, query and names: /v1.41/containers/3f2a/start?x → /containers/{id}/start"""
    path = re.sub(r"^/v\d+\.\d+", "", path.split("?")[0])
    path = re.sub(r"^/images/(?!(?:json|create|load|search|prune|get)$).+?(/(?:json|tag|history|push|get))?$", r"/images/{id}\1", path)
    return re.sub(r"^/(containers|networks|volumes|exec)/(?!(?:json|create|prune)$)[^/]+", r"/\1/{id}", path)


class EngineTap:
    def __init__(self, listen, engine):
        self.listen, self.engine, self.calls = str(listen), str(engine), []
        self.loop, ready = asyncio.new_event_loop(), threading.Event()
        threading.Thread(target=self._run, args=(ready,), daemon=True).start()
        if not ready.wait(10):
            raise RuntimeError(f"nothing listens at {listen}")

    def between(self, begin, end):
        """Calls begun and ended within these moments (seconds of time.time()); what streams on for long is not among them."""
        return [c for c in list(self.calls) if c["at"] >= begin and c["at"] + c["ms"] / 1e3 <= end]

    def _run(self, ready):
        async def serve():
            server = await asyncio.start_unix_server(self._connection, self.listen, limit=HEAD_LIMIT)
            ready.set()
            await server.serve_forever()

        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(serve())

    async def _connection(self, client, to_client):
        engine, to_engine = await asyncio.open_unix_connection(self.engine, limit=HEAD_LIMIT)
        talk = asyncio.create_task(self._talk(client, to_client, engine, to_engine))
        try:
            # An answer that never ends (events, a followed log) ends when the daemon hangs up.
            while not talk.done() and not (client.at_eof() or to_client.is_closing()):
                await asyncio.wait([talk], timeout=0.2)
            talk.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
                await talk
        finally:
            for writer in (to_client, to_engine):
                writer.close()

    async def _talk(self, client, to_client, engine, to_engine):
        while True:
            head = await client.readuntil(b"\r\n\r\n")
            at, begun = time.time(), time.monotonic()
            method, path = head.split(b" ", 2)[:2]
            to_engine.write(head)
            upload = asyncio.create_task(_body(head, client, to_engine, answers=False))
            answer = await engine.readuntil(b"\r\n\r\n")
            while answer.startswith((b"HTTP/1.1 100", b"HTTP/1.1 102")):
                to_client.write(answer)
                answer = await engine.readuntil(b"\r\n\r\n")
            status = int(answer.split(b" ", 2)[1])
            call = {"at": at, "method": method.decode(), "path": shape(path.decode()), "status": status}
            to_client.write(answer)
            if status == 101:
                self._note(call, begun)
                await asyncio.gather(_pour(client, to_engine), _pour(engine, to_client))
                return
            if method != b"HEAD" and status not in (204, 304):
                await _body(answer, engine, to_client, answers=True)
            await to_client.drain()
            self._note(call, begun)
            await upload

    def _note(self, call, begun):
        self.calls.append(call | {"ms": round((time.monotonic() - begun) * 1e3, 2)})


async def _body(head, source, sink, answers):
    """Passes one body on; an answer without a length lasts until its sender hangs up."""
    fields = head.lower()
    length = re.search(rb"\r\ncontent-length: *(\d+)", fields)
    if re.search(rb"\r\ntransfer-encoding: *chunked", fields):
        while True:
            line = await source.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            sink.write(line + await source.readexactly(size + 2))
            await sink.drain()
            if size == 0:
                return
    elif length:
        left = int(length[1])
        while left:
            piece = await source.read(min(left, PIECE))
            if not piece:
                raise ConnectionError("cut within a body")
            left -= len(piece)
            sink.write(piece)
            await sink.drain()
    elif answers:
        await _pour(source, sink)


async def _pour(source, sink):
    while piece := await source.read(PIECE):
        sink.write(piece)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
