"""Settings, all from the environment; a missing one stops the program with a sentence."""

import os
import socket
import sys

PORT = int(os.environ.get("PORT", "8000"))
POOL_MAX = int(os.environ.get("DB_POOL_MAX", "10"))
TASK_LIMIT = int(os.environ.get("TASK_LIMIT", "100"))
TOKEN_HOURS = int(os.environ.get("TOKEN_HOURS", "12"))
DRAIN_SECONDS = int(os.environ.get("DRAIN_SECONDS", "30"))
JWT_SECRET = os.environ.get("JWT_SECRET", "")
INSTANCE = os.environ.get("INSTANCE") or socket.gethostname()


def database_url() -> str:
    url = os.environ.get("DATABASE_URL")
    if not url:
        sys.exit(
            "DATABASE_URL is not set. With Freehold: `freehold db create main`, "
            "then `freehold db attach main tasks`."
        )
    return url
