"""`python -m consumers`: one consumer process, until SIGTERM."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack, closing
from types import FrameType

from consumers.status import StatusServer
from consumers.worker import Worker
from embark import config, log, tracing
from embark.backends import open_backends
from embark.errors import EmbArkError
from embark.following import Following
from embark.metrics import CONSUMER_STARTS
from embark.retina import Retina


def main() -> int:
    """Run until SIGTERM or SIGINT, then drain."""
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    try:
        settings = config.load().settings
        log.configure(level=settings.log.level, form=settings.log.format, process="consumer")
        with ExitStack() as opened:
            opened.callback(tracing.close)
            tracing.start(settings.tracing, "consumer")
            backends = opened.enter_context(closing(open_backends(settings)))
            opened.enter_context(closing(StatusServer(settings.consumer, backends)))
            retina = opened.enter_context(
                closing(Retina(settings.retina.url, settings.retina.timeout_seconds))
            )
            following = opened.enter_context(
                closing(
                    Following(
                        settings.retina.model_repository,
                        backends.ledger,
                        settings.retina.follow_seconds,
                    )
                )
            )
            worker = Worker(following, backends, retina, settings)
            CONSUMER_STARTS.inc()
            log.logger(__name__).info("consuming", models=list(following.current))
            worker.run(stop)
    except EmbArkError as error:
        print(f"consumer: {error.message}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
