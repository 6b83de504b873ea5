"""The connection pool: opened before the port is, checked before each use."""

from fastapi import Depends
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from . import settings

pool: AsyncConnectionPool | None = None


async def open_pool() -> None:
    global pool
    pool = AsyncConnectionPool(
        settings.database_url(),
        min_size=1,
        max_size=settings.POOL_MAX,
        timeout=5,
        check=AsyncConnectionPool.check_connection,
        kwargs={"row_factory": dict_row, "connect_timeout": 5, "application_name": "tasks-api"},
        open=False,
    )
    await pool.open(wait=True, timeout=30)


async def close_pool() -> None:
    if pool is not None:
        await pool.close()


async def connection():
    """One transaction a request."""
    assert pool is not None, "the pool is opened at start"
    async with pool.connection() as conn:
        yield conn


Connection = AsyncConnection
# Scope "function": the commit comes before the answer is sent, so a 201 is never a lie.
Transaction = Depends(connection, scope="function")
