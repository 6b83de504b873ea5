"""`python -m app`: serves until SIGTERM, then finishes what was begun."""

import uvicorn

from . import events, logs, settings


class Server(uvicorn.Server):
    def handle_exit(self, sig, frame):
        # Event streams have no end of their own; requests get the drain time to finish theirs.
        events.hub.close_all()
        super().handle_exit(sig, frame)


def main() -> None:
    logs.setup()
    settings.database_url()
    Server(
        uvicorn.Config(
            "app.main:app",
            host="0.0.0.0",
            port=settings.PORT,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=settings.DRAIN_SECONDS,
        )
    ).run()


if __name__ == "__main__":
    main()
