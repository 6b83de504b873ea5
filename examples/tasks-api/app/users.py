"""/usuarios and /login."""

from datetime import datetime
from typing import Annotated

import psycopg
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, StringConstraints

from . import auth, db

router = APIRouter(tags=["usuários"])
Conn = Annotated[db.Connection, db.Transaction]
Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, to_lower=True, max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
    ),
]


class NewUser(BaseModel):
    nome: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
    email: Email
    senha: Annotated[str, StringConstraints(min_length=8, max_length=128)]


class Login(BaseModel):
    email: Email
    senha: Annotated[str, StringConstraints(max_length=128)]


class User(BaseModel):
    id: int
    nome: str
    email: str
    criado_em: datetime


class Token(BaseModel):
    token: str
    tipo: str = "Bearer"
    expira_em: datetime


@router.post("/usuarios", status_code=201, response_model=User)
async def create(new: NewUser, conn: Conn):
    senha_hash = await auth.hash_password(new.senha)
    try:
        cur = await conn.execute(
            "INSERT INTO usuarios (nome, email, senha_hash) VALUES (%s, %s, %s) "
            "RETURNING id, nome, email, criado_em",
            (new.nome, new.email, senha_hash),
        )
    except psycopg.errors.UniqueViolation as err:
        raise HTTPException(409, f"já existe um usuário com o e-mail {new.email}") from err
    return await cur.fetchone()


@router.get("/usuarios/eu", response_model=User)
async def me(usuario_id: auth.UserId, conn: Conn):
    cur = await conn.execute(
        "SELECT id, nome, email, criado_em FROM usuarios WHERE id = %s", (usuario_id,)
    )
    user = await cur.fetchone()
    if user is None:
        raise HTTPException(401, "este usuário não existe mais")
    return user


@router.post("/login", response_model=Token)
async def login(given: Login, conn: Conn):
    cur = await conn.execute("SELECT id, senha_hash FROM usuarios WHERE lower(email) = %s", (given.email,))
    user = await cur.fetchone()
    if not await auth.password_matches(user and user["senha_hash"], given.senha):
        raise HTTPException(401, "e-mail ou senha não conferem")
    token, expires = auth.issue(user["id"])
    return Token(token=token, expira_em=expires)
