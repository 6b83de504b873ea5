"""`python -m app.migrate`, the release command: applies what is new in migrations/, in order.

Each file is one transaction; an advisory lock lets two deploys run it at once without harm.
"""

import logging
import sys
from pathlib import Path

import psycopg

from . import logs, settings

FOLDER = Path(__file__).resolve().parent.parent / "migrations"
LOCK = 7_203_114
log = logging.getLogger("migrate")


def main() -> None:
    logs.setup()
    try:
        with psycopg.connect(settings.database_url(), connect_timeout=10, autocommit=True) as conn:
            migrate(conn)
    except psycopg.Error as err:
        log.error("migrations failed: %s", err)
        sys.exit(1)


def migrate(conn: psycopg.Connection) -> None:
    conn.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    conn.execute(
        "CREATE TABLE IF NOT EXISTS migracoes "
        "(nome text PRIMARY KEY, aplicada_em timestamptz NOT NULL DEFAULT now())"
    )
    done = {nome for (nome,) in conn.execute("SELECT nome FROM migracoes")}
    new = [file for file in sorted(FOLDER.glob("*.sql")) if file.name not in done]
    for file in new:
        with conn.transaction():
            conn.execute(file.read_text())
            conn.execute("INSERT INTO migracoes (nome) VALUES (%s)", (file.name,))
        log.info("migration applied", extra={"migration": file.name})
    log.info("migrations done: %d new, %d known", len(new), len(done))


if __name__ == "__main__":
    main()
