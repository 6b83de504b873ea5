"""For whoever runs the service: /healthz, and /slow to watch a deploy let a long answer finish."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from . import settings

router = APIRouter(tags=["operação"])


@router.get("/healthz")
async def healthz():
    """This process answers. It says nothing of the database on purpose: a database that is away
    must not make every replica look dead. The pool is connected before the port opens."""
    return {"estado": "ok", "instancia": settings.INSTANCE}


@router.get("/slow")
async def slow(seconds: Annotated[float, Query(ge=0, le=30)] = 5, stream: bool = False):
    """Answers after `seconds`; with `stream=true` a line at once, one each second, and `fim` last."""
    if not stream:
        await asyncio.sleep(seconds)
        return {"segundos": seconds, "instancia": settings.INSTANCE}

    async def lines():
        yield "inicio\n"
        for second in range(int(seconds)):
            await asyncio.sleep(1)
            yield f"{second + 1}\n"
        yield "fim\n"

    return StreamingResponse(lines(), media_type="text/plain; charset=utf-8")
