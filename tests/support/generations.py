"""A gateway on a model with two generations, and a consumer that makes vectors up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consumers.deliver import Deliverer
from consumers.flights import Flights
from consumers.in_flight import InFlight
from embark.archive import now_ms
from embark.codec import encode_embedding
from embark.errors import PermanentFailure
from embark.generations import Generations
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.models import Model, Vector, load_catalogue
from embark.queue.base import Lane, Request
from tests.support.gateway import Service, vector_of
from tests.support.models import facts, write_model
from tests.support.stack import wait_until

OLD, NEW = "0123456789abcdef", "fedcba9876543210"


class TwoGenerations(Service):
    """`words` has a live generation, OLD, and NEW beside it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, retina__follow_seconds=0.02, **settings)
        self.repository = folder / "models"
        write_model(self.repository, facts("words", version=2, generation=NEW))
        wait_until(lambda: self.gateway.following.current.served("words", NEW), 60, "it is seen")
        self.generations = Generations(self.backends.ledger)
        catalogue = load_catalogue(self.repository)
        self.old, self.new = catalogue.generations("words")
        self.computed: list[Key] = []
        self._in_flight = InFlight(self.queue, self.settings.consumer, 15)
        self._deliverer = Deliverer(self.backends, self._in_flight, Flights(), self.settings)

    def key(self, text: str, model: Model | None = None) -> Key:
        return Key("words", (model or self.old).generation, digest(text_input(text)))

    def ask(self, *texts: str, model: Model | None = None) -> None:
        """Queue texts, as a lookup that misses does."""
        self.queue.put(
            [Request(self.key(text, model), text_input(text), Lane.INTERACTIVE) for text in texts]
        )

    def put_vector_of(self, model: Model, text: str, vector: Vector) -> None:
        """Write a vector, whatever was there."""
        key = self.key(text, model)
        record = encode_embedding(key, vector, model.facts.dtype, now_ms())
        self.archive.put_many(model, {key.digest: record})

    def consume(self) -> int:
        """Embed what waits; texts that begin with "bad" fail. Returns how many were taken."""
        taken = [one for lane in Lane for one in self.queue.take(lane, 1000, 10**9)]
        self._in_flight.add(taken)
        for delivery in taken:
            key = delivery.request.key
            model = self.old if key.generation == OLD else self.new
            if delivery.request.item.payload.startswith(b"bad"):
                failure = PermanentFailure("no good", code="bad")
                self._deliverer.failed(model, delivery, failure)
                continue
            self.computed.append(key)
            vector = vector_of(key, model.facts.dimension)
            self._deliverer.embedded(model, [delivery], vector[None])
        return len(taken)

    @contextmanager
    def consuming(self) -> Iterator[None]:
        """Consume all the while."""
        stop = threading.Event()

        def consume() -> None:
            while not stop.wait(0.005):
                self.consume()

        consumer = threading.Thread(target=consume)
        consumer.start()
        try:
            yield
        finally:
            stop.set()
            consumer.join()

    def close(self) -> None:
        self._in_flight.close()
        self.gateway.close()


@contextmanager
def two_generations(folder: Path, **settings: Any) -> Iterator[TwoGenerations]:
    opened = TwoGenerations(folder, **settings)
    try:
        yield opened
    finally:
        opened.close()
