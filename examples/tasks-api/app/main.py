"""The application: routers put together, what is opened at start and closed at the end."""

import asyncio
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout

from . import auth, db, events, logs, ops, tasks, users


@asynccontextmanager
async def lifespan(_app: FastAPI):
    await db.open_pool()
    await auth.load_key()
    listener = asyncio.create_task(events.hub.listen(), name="listen")
    yield
    listener.cancel()
    with suppress(asyncio.CancelledError):
        await listener
    await db.close_pool()


app = FastAPI(title="Tarefas", version="1.0.0", lifespan=lifespan)
app.include_router(ops.router)
app.include_router(users.router)
# Before tasks: /tarefas/eventos would otherwise be read as a task's number.
app.include_router(events.router)
app.include_router(tasks.router)
app.add_middleware(logs.RequestLog)


@app.get("/", include_in_schema=False)
async def index():
    return {"servico": "tarefas", "documentacao": "/docs"}


@app.exception_handler(PoolTimeout)
async def database_away(_request: Request, _err: PoolTimeout):
    return JSONResponse(
        {"detail": "o banco de dados não respondeu em 5 s: tente de novo"},
        status_code=503,
        headers={"Retry-After": "5"},
    )
