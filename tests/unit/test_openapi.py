"""The OpenAPI document describes this service, and the service does what it describes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from embark.api_keys import write_keys
from tests.support.gateway import Service, json_of, service

DOCS = Path(__file__).parents[2] / "docs"

# Flask answers these for every path by itself.
_IMPLIED = {"HEAD", "OPTIONS"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("shared")) as opened:
        yield opened


def test_the_document_is_valid(shared: Service) -> None:
    validate(json_of(shared.http.get("/openapi.json")))


def test_it_has_every_route_and_no_other(shared: Service) -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in shared.gateway.app.url_map.iter_rules()
        for method in (rule.methods or set()) - _IMPLIED
    }
    document = json_of(shared.http.get("/openapi.json"))
    described = {(path, method) for path, one in document["paths"].items() for method in one}
    assert described == routes


def test_every_path_is_in_the_documentation(shared: Service) -> None:
    pages = [(DOCS / name).read_text("utf-8") for name in ("api.md", "protocols.md")]
    text = re.sub(r"{\w+}|<\w+>", "{}", "".join(pages))
    for path in json_of(shared.http.get("/openapi.json"))["paths"]:
        # A version is said once for all paths of a model; the page's files are the page's own.
        told = (
            re.sub(r"{\w+}", "{}", path).replace("/versions/{}", "").replace("/page/{}", "/page/")
        )
        assert re.search(rf"{re.escape(told)}[`?\s]", text), path


def test_with_keys_it_says_which_scope_an_operation_needs(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys.json", [])
    with service(tmp_path, gateway__keys_file=tmp_path / "keys.json") as here:
        document = json_of(here.http.get("/openapi.json"))
    validate(document)
    for path, method, scope in (
        ("/v1/lookup", "post", "read"),
        ("/v1/prefetch", "post", "enqueue"),
        ("/v1/admin/coverage", "get", "admin"),
    ):
        needed = document["paths"][path][method]["security"]
        assert needed == [{"bearer": [scope]}, {"header": [scope]}]
    assert "security" not in document["paths"]["/v2/health/live"]["get"]


def test_no_two_operations_have_one_name(shared: Service) -> None:
    document = json_of(shared.http.get("/openapi.json"))
    names = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(names) == len(set(names))
