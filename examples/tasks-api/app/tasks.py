"""/tarefas: each user sees and changes only their own."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query
from psycopg.types.json import Json
from pydantic import BaseModel, StringConstraints

from . import auth, db, settings

router = APIRouter(prefix="/tarefas", tags=["tarefas"])
Conn = Annotated[db.Connection, db.Transaction]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Text = Annotated[str, StringConstraints(max_length=4000)]
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
COLUMNS = "id, titulo, descricao, concluida, criada_em, atualizada_em"


class NewTask(BaseModel):
    titulo: Title
    descricao: Text = ""


class Change(BaseModel):
    titulo: Title | None = None
    descricao: Text | None = None
    concluida: bool | None = None


class Task(BaseModel):
    id: int
    titulo: str
    descricao: str
    concluida: bool
    criada_em: datetime
    atualizada_em: datetime


@router.get("", response_model=list[Task])
async def list_tasks(
    usuario_id: auth.UserId,
    conn: Conn,
    concluida: bool | None = None,
    depois: Annotated[int, Query(ge=0)] = 0,
    limite: Annotated[int, Query(ge=1, le=100)] = 50,
):
    cur = await conn.execute(
        f"SELECT {COLUMNS} FROM tarefas WHERE usuario_id = %s AND id > %s "
        "AND (%s::boolean IS NULL OR concluida = %s) ORDER BY id LIMIT %s",
        (usuario_id, depois, concluida, concluida, limite),
    )
    return await cur.fetchall()


@router.post("", status_code=201, response_model=Task)
async def create(new: NewTask, usuario_id: auth.UserId, conn: Conn):
    # The user's row is locked so that two requests at once cannot both be the last one allowed.
    cur = await conn.execute("SELECT id FROM usuarios WHERE id = %s FOR UPDATE", (usuario_id,))
    if await cur.fetchone() is None:
        raise HTTPException(401, "este usuário não existe mais")
    cur = await conn.execute("SELECT count(*) AS n FROM tarefas WHERE usuario_id = %s", (usuario_id,))
    if (await cur.fetchone())["n"] >= settings.TASK_LIMIT:
        raise HTTPException(
            422, f"limite de {settings.TASK_LIMIT} tarefas por usuário alcançado: apague uma antes"
        )
    cur = await conn.execute(
        f"INSERT INTO tarefas (usuario_id, titulo, descricao) VALUES (%s, %s, %s) RETURNING {COLUMNS}",
        (usuario_id, new.titulo, new.descricao),
    )
    task = await cur.fetchone()
    await announce(conn, "criada", usuario_id, task)
    return task


@router.get("/{id}", response_model=Task)
async def show(id: Id, usuario_id: auth.UserId, conn: Conn):
    cur = await conn.execute(
        f"SELECT {COLUMNS} FROM tarefas WHERE id = %s AND usuario_id = %s", (id, usuario_id)
    )
    return await found(cur, id)


@router.patch("/{id}", response_model=Task)
async def change(id: Id, to: Change, usuario_id: auth.UserId, conn: Conn):
    cur = await conn.execute(
        "UPDATE tarefas SET titulo = coalesce(%s, titulo), descricao = coalesce(%s, descricao), "
        "concluida = coalesce(%s, concluida), atualizada_em = now() "
        f"WHERE id = %s AND usuario_id = %s RETURNING {COLUMNS}",
        (to.titulo, to.descricao, to.concluida, id, usuario_id),
    )
    task = await found(cur, id)
    await announce(conn, "alterada", usuario_id, task)
    return task


@router.delete("/{id}", status_code=204)
async def delete(id: Id, usuario_id: auth.UserId, conn: Conn):
    cur = await conn.execute(
        f"DELETE FROM tarefas WHERE id = %s AND usuario_id = %s RETURNING {COLUMNS}", (id, usuario_id)
    )
    await announce(conn, "apagada", usuario_id, await found(cur, id))


async def found(cur, id: int) -> dict:
    task = await cur.fetchone()
    if task is None:
        raise HTTPException(404, f"não há tarefa {id} sua")
    return task


async def announce(conn, tipo: str, usuario_id: int, task: dict) -> None:
    """Reaches every replica when the transaction commits, and none when it does not."""
    event = {"tipo": tipo, "usuario_id": usuario_id, "id": task["id"], "titulo": task["titulo"]}
    await conn.execute("SELECT pg_notify('tarefas', %s::jsonb::text)", (Json(event),))
