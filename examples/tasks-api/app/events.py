"""What happens to tasks, live: server-sent events and a WebSocket, fed by Postgres LISTEN.

One connection a process listens; each client has a bounded queue and is dropped when it lags.
"""

import asyncio
import json
import logging
from contextlib import suppress

import psycopg
from fastapi import APIRouter, HTTPException, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from . import auth, settings

router = APIRouter(tags=["eventos"])
log = logging.getLogger("events")
QUEUE = 100
KEEP_ALIVE_SECONDS = 15


class Hub:
    def __init__(self):
        self.clients: dict[asyncio.Queue, int] = {}

    def join(self, usuario_id: int) -> asyncio.Queue:
        queue = asyncio.Queue(QUEUE)
        self.clients[queue] = usuario_id
        return queue

    def leave(self, queue: asyncio.Queue) -> None:
        self.clients.pop(queue, None)

    def publish(self, event: dict) -> None:
        for queue, usuario_id in list(self.clients.items()):
            if usuario_id == event["usuario_id"]:
                try:
                    queue.put_nowait(event)
                except asyncio.QueueFull:
                    self.close(queue)

    def close(self, queue: asyncio.Queue) -> None:
        """Ends one stream: what it had not read gives way to the end mark."""
        self.leave(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)

    def close_all(self) -> None:
        for queue in list(self.clients):
            self.close(queue)

    async def listen(self) -> None:
        while True:
            try:
                conn = await psycopg.AsyncConnection.connect(
                    settings.database_url(), autocommit=True, connect_timeout=5
                )
                async with conn:
                    await conn.execute("LISTEN tarefas")
                    async for notice in conn.notifies():
                        self.publish(json.loads(notice.payload))
            except psycopg.Error as err:
                log.warning("event listener lost its connection, trying again in 1 s: %s", err)
            await asyncio.sleep(1)


hub = Hub()


@router.get("/tarefas/eventos")
async def stream(usuario_id: auth.UserId):
    async def lines(queue: asyncio.Queue):
        try:
            yield ": ok\n\n"
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield ": ok\n\n"
                    continue
                if event is None:
                    return
                yield f"event: {event['tipo']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
        finally:
            hub.leave(queue)

    return StreamingResponse(
        lines(hub.join(usuario_id)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


@router.websocket("/ws")
async def socket(ws: WebSocket):
    """First message: {"token": "…"}. Then events come as they happen; "ping" is answered "pong"."""
    await ws.accept()
    try:
        first = await asyncio.wait_for(ws.receive_json(), 10)
        usuario_id = auth.user_of(str(first.get("token", "")))
    except (TimeoutError, ValueError, AttributeError, HTTPException):
        return await ws.close(4401, "primeira mensagem: {\"token\": \"…\"}")
    except WebSocketDisconnect:
        return
    queue = hub.join(usuario_id)
    await ws.send_json({"tipo": "pronto"})

    async def send() -> None:
        while (event := await queue.get()) is not None:
            await ws.send_json(event)
        await ws.close(1012)

    sender = asyncio.create_task(send())
    try:
        while True:
            if await ws.receive_text() == "ping":
                await ws.send_text("pong")
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        hub.leave(queue)
        sender.cancel()
        with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
            await sender
