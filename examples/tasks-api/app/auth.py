"""Passwords (argon2id) and tokens (JWT, HS256)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
import psycopg
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from . import db, settings

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_bearer = HTTPBearer(auto_error=False)
_key = settings.JWT_SECRET
# Checked when the e-mail is unknown, so that both answers take the same time.
_NOBODY = _hasher.hash("nobody")


async def load_key() -> None:
    """JWT_SECRET, or else the key that the migrations made, the same for every replica."""
    global _key
    if _key:
        return
    try:
        async with db.pool.connection() as conn:
            cur = await conn.execute("SELECT valor FROM configuracao WHERE chave = 'jwt'")
            _key = (await cur.fetchone())["valor"]
    except psycopg.errors.UndefinedTable as err:
        raise RuntimeError("the tables are missing: run `python -m app.migrate` first") from err


async def hash_password(senha: str) -> str:
    return await asyncio.to_thread(_hasher.hash, senha)


async def password_matches(senha_hash: str | None, senha: str) -> bool:
    try:
        await asyncio.to_thread(_hasher.verify, senha_hash or _NOBODY, senha)
    except (VerificationError, InvalidHashError):
        return False
    return senha_hash is not None


def issue(usuario_id: int) -> tuple[str, datetime]:
    expires = datetime.now(UTC) + timedelta(hours=settings.TOKEN_HOURS)
    return jwt.encode({"sub": str(usuario_id), "exp": expires}, _key, algorithm="HS256"), expires


def user_of(token: str) -> int:
    try:
        claims = jwt.decode(token, _key, algorithms=["HS256"], options={"require": ["sub", "exp"]})
        return int(claims["sub"])
    except (jwt.InvalidTokenError, ValueError) as err:
        raise HTTPException(401, "token inválido ou vencido: entre de novo em POST /login") from err


def signed_in(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> int:
    if given is None:
        raise HTTPException(
            401,
            "falta o cabeçalho Authorization: Bearer <token>; peça um em POST /login",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return user_of(given.credentials)


UserId = Annotated[int, Depends(signed_in)]
