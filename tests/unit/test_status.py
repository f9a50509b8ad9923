"""The consumer's status port."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import httpx
import pytest

from consumers.status import LIVE, METRICS, READY, StatusServer
from embark.errors import ConfigurationError
from embark.ports import free_port
from embark.settings import ConsumerSettings
from tests.support.gateway import service


def test_it_tells_metrics_and_whether_the_archive_is_there(tmp_path: Path) -> None:
    settings = ConsumerSettings(status_port=free_port())
    url = f"http://127.0.0.1:{settings.status_port}"
    with service(tmp_path) as here:
        backends = here.backends
        with closing(StatusServer(settings, backends)):
            assert httpx.get(url + LIVE).json() == {"live": True}
            assert httpx.get(url + READY).status_code == 200
            assert "embark_consumer_in_flight" in httpx.get(url + METRICS).text
            assert httpx.get(f"{url}/other").status_code == 404
            with pytest.raises(ConfigurationError, match="status_port"):
                StatusServer(settings, backends)
            here.store.close()
            assert httpx.get(url + READY).status_code == 503
        with pytest.raises(httpx.ConnectError):
            httpx.get(url + LIVE)


def test_without_a_port_nothing_listens(tmp_path: Path) -> None:
    with service(tmp_path) as here:
        StatusServer(ConsumerSettings(), here.backends).close()
