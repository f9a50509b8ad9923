"""Before a test begins: what models there are, and their vectors in the archive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from embark.cli.inputs import client_of
from embark.client import Client, Sendable
from embark.config import load
from embark.errors import ConfigurationError
from embark.inputs import Modality
from loadtests.calls import Served, served_models
from loadtests.contents import picture, text
from loadtests.scenario import LookupCall, Scenario

_CHUNK = 200
_POLL_SECONDS = 0.3


def api_key() -> str:
    """Return the secret of the configured key, `client.api_key`, empty for none."""
    return load().settings.client.api_key.get_secret_value()


def prepare(scenario: Scenario, host: str) -> list[dict[str, Any]]:
    """Fill the archive as the scenario wants it; return the models that it asks, as served.

    Nothing is asked of a service that the scenario itself does not ask.

    Raises:
        ConfigurationError: a model is not served, or the archive did not fill in time.
        ServiceError: the service cannot be reached.
    """
    if not scenario.models:
        return []
    with client_of(load().settings, host, retries=1) as client:
        described = client.models()
        served = served_models(described, scenario.models)
        if scenario.catalogue.warm:
            asked = [call.models for call in scenario.mix if isinstance(call, LookupCall)]
            for model in dict.fromkeys(name for models in asked for name in models):
                _warm(client, scenario, model, served[model])
    return [
        {"name": one["name"], "generation": one["generation"], "modality": one["modality"]}
        for one in described
    ]


def _warm(client: Client, scenario: Scenario, model: str, served: Served) -> None:
    deadline = time.monotonic() + scenario.catalogue.warm_seconds
    inputs = _inputs(scenario, served)
    while chunk := list(islice(inputs, _CHUNK)):
        client.prefetch(chunk, model)
        while not client.lookup(chunk, model, on_miss="skip").hits.all():
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{model}: the archive did not fill within"
                    f" {scenario.catalogue.warm_seconds:g} s; raise catalogue.warm_seconds or"
                    " lower catalogue.size"
                )
            time.sleep(_POLL_SECONDS)


def _inputs(scenario: Scenario, served: Served) -> Iterator[Sendable]:
    make = text if served.modality is Modality.TEXT else picture
    return (make(scenario.seed, item) for item in range(scenario.catalogue.size))
