"""Who may ask what: keys, scopes, limits and deadlines, on the application without a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from embark.api_keys import ApiKey, Scope, new_key, read_keys, write_keys
from embark.errors import ConfigurationError, TooManyRequests
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.queue.base import Lane
from embark.settings import GatewaySettings
from gateway.__main__ import require_access
from gateway.access.keyring import Keyring
from gateway.access.limits import Limits
from tests.support.clock import Clock
from tests.support.gateway import Service, json_of, service, vector_of
from tests.support.models import DIMENSION, GENERATION

OPEN = {"/", "/page/<name>", "/openapi.json", "/v2/health/live", "/v2/health/ready"}
SCOPES = {"read": [Scope.READ], "write": [Scope.READ, Scope.ENQUEUE], "admin": [Scope.ADMIN]}


class Guarded:
    """A service with a key for each set of scopes."""

    def __init__(self, here: Service, path: Path, secrets: dict[str, str]) -> None:
        self.here, self.path, self.secrets = here, path, secrets

    def ask(self, method: str, path: str, who: str | None = None, **more: Any) -> TestResponse:
        headers = dict(more.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {self.secrets.get(who, who)}"
        return self.here.http.open(path, method=method, headers=headers, **more)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    path = tmp_path / "keys.json"
    made = {name: new_key(name, scopes) for name, scopes in SCOPES.items()}
    write_keys(path, [key for key, _ in made.values()])
    with service(tmp_path, gateway__keys_file=path, patient=True) as here:
        yield Guarded(here, path, {name: secret for name, (_, secret) in made.items()})


def code_of(answer: TestResponse) -> tuple[int, str]:
    assert answer.json is not None
    error = answer.json["error"]
    return answer.status_code, error["code"] if isinstance(error, dict) else error


def endpoints(here: Service) -> list[tuple[str, str, str]]:
    """Every method, path and rule."""
    found = []
    for rule in here.gateway.app.url_map.iter_rules():
        path = rule.rule
        for name in rule.arguments:
            path = path.replace(f"<{name}>", "words")
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        found += [(method, path, rule.rule) for method in methods]
    assert len(found) > 20
    return found


def test_every_endpoint_but_the_open_ones_needs_a_valid_key(guarded: Guarded) -> None:
    for method, path, rule in endpoints(guarded.here):
        if rule in OPEN:
            assert guarded.ask(method, path).status_code != 401, rule
            continue
        answer = guarded.ask(method, path)
        assert answer.status_code == 401, rule
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert guarded.ask(method, path, "nonsense").status_code == 401, rule
        assert guarded.ask(method, path, "admin" if "admin" in rule else "write").status_code != 401


def test_a_key_that_is_nearly_right_is_refused(guarded: Guarded) -> None:
    secret = guarded.secrets["read"]
    wrong = [secret[:-1], secret + "A", secret.swapcase(), secret[:-1] + "!", "ek__", "", "é" * 50]
    wrong.append(f"ek_{guarded.secrets['admin'][3:15]}_{secret[16:]}")
    for one in wrong:
        answer = guarded.ask("GET", "/v1/models", one)
        assert code_of(answer) == (401, "invalid_api_key"), one
    assert guarded.ask("GET", "/v1/models", headers={"X-API-Key": secret}).status_code == 200
    basic = {"Authorization": f"Basic {secret}"}
    assert guarded.ask("GET", "/v1/models", headers=basic).status_code == 401


def test_what_each_scope_may_do(guarded: Guarded) -> None:
    body = {"model": "words", "items": ["a"]}
    expected = {
        ("GET", "/v1/models"): {"read": 200, "write": 200, "admin": 403},
        ("GET", "/metrics"): {"read": 200, "write": 200, "admin": 403},
        ("POST", "/v1/lookup"): {"read": 200, "write": 200, "admin": 403},
        ("POST", "/v1/prefetch"): {"read": 403, "write": 202, "admin": 403},
        ("POST", "/v1/admin/invalidate"): {"read": 403, "write": 403, "admin": 202},
    }
    for (method, path), statuses in expected.items():
        for who, status in statuses.items():
            sent = {"json": body} if method == "POST" else {}
            assert guarded.ask(method, path, who, **sent).status_code == status, (path, who)


def test_slashes_and_escapes_lead_around_no_scope(guarded: Guarded) -> None:
    for path in (
        "/v1//admin/dead-letters",
        "//v1/admin/dead-letters",
        "/v1/%61dmin/dead-letters",
        "/v1/./admin/dead-letters",
        "/v2/health/../../v1/admin/dead-letters",
        "/page/..%2f..%2fv1/admin/dead-letters",
        "/V1/ADMIN/dead-letters",
    ):
        for who in (None, "read", "write"):
            answer = guarded.ask("GET", path, who)
            assert answer.status_code in (308, 401, 403, 404), (path, who)


def test_a_miss_of_a_reader_is_not_queued(guarded: Guarded) -> None:
    body = {"model": "words", "items": ["new"], "on_miss": "wait", "wait_ms": 5000}
    answer = guarded.ask("POST", "/v1/lookup", "read", json=body)
    assert [(one["status"], one["queued"]) for one in json_of(answer)["items"]] == [("oov", False)]
    assert guarded.here.queue.status()[Lane.INTERACTIVE].depth == 0
    body["on_miss"] = "oov"
    answer = guarded.ask("POST", "/v1/lookup", "write", json=body)
    assert [(one["status"], one["queued"]) for one in json_of(answer)["items"]] == [("oov", True)]
    assert guarded.here.queue.status()[Lane.INTERACTIVE].depth == 1


def test_metrics_are_open_where_the_settings_say_so(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys.json", [])
    settings = {"gateway__keys_file": tmp_path / "keys.json", "gateway__open_metrics": True}
    with service(tmp_path, **settings) as here:
        assert here.http.get("/metrics").status_code == 200
        assert here.http.get("/v1/models").status_code == 401


def test_without_keys_this_machine_may_do_everything_and_other_pages_nothing(
    tmp_path: Path,
) -> None:
    with service(tmp_path) as here:
        for host in ("localhost", "127.0.0.1:8080", "[::1]:8080", "127.0.0.1", "LOCALHOST:1"):
            assert here.http.get("/v1/models", headers={"Host": host}).status_code == 200, host
            same = {"Host": host, "Origin": f"http://{host}"}
            path = "/v1/admin/dead-letters"
            assert here.http.get(path, headers=same).status_code == 200, host
        for headers in (
            {"Host": "rebound.example"},
            {"Host": "rebound.example:8080"},
            {"Host": "10.0.0.1"},
            {"Host": "127.0.0.1.example"},
            {"Host": "localhost.example"},
            {"Host": "localhost@example.com"},
            {"Host": "["},
            {"Host": "localhost:8080", "Origin": "http://evil.example"},
            {"Host": "localhost:8080", "Origin": "http://localhost:3000"},
            {"Host": "localhost:8080", "Origin": "null"},
            {"Host": "localhost:8080", "Sec-Fetch-Site": "cross-site"},
            {"Host": "localhost:8080", "Sec-Fetch-Site": "same-site"},
        ):
            answer = here.http.post("/v1/admin/dead-letters/purge", json={}, headers=headers)
            assert code_of(answer) == (403, "foreign_origin"), headers
        led = {"Host": "localhost:8080", "Sec-Fetch-Site": "cross-site"}
        assert here.http.get("/", headers=led).status_code == 200
        found = here.http.get("/v1/neighbours?model=words&text=a", headers=led)
        assert code_of(found) == (403, "foreign_origin")
        own = {**led, "Sec-Fetch-Site": "same-origin"}
        assert here.http.get("/v1/models", headers=own).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "embark.example", ""])
def test_without_keys_the_gateway_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match="embark keys add"):
        Service(tmp_path, gateway__host=host)


@pytest.mark.parametrize("text", ["", "[]", '{"keys": [{"name": "x"}]}', '{"keys": 3}', "\x00"])
def test_a_gateway_does_not_start_on_a_bad_file_of_keys(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"keys\.json"):
        require_access(GatewaySettings(keys_file=path))


def test_a_process_that_is_started_again_on_a_bad_file_lets_nobody_in_until_it_is_right(
    tmp_path: Path,
) -> None:
    path, key = tmp_path / "keys.json", new_key("a", [Scope.READ])
    path.write_text("[")
    find = keyring(path, Clock())
    assert find(key[1]) is None
    write_keys(path, [key[0]])
    assert find(key[1]) == key[0]


def test_a_file_that_could_not_be_read_for_a_moment_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    (kept, kept_secret), (gone, gone_secret) = (
        new_key("a", [Scope.READ]),
        new_key("b", [Scope.READ]),
    )
    write_keys(path, [kept, gone])
    find = keyring(path, Clock())
    write_keys(path, [kept])
    path.rename(tmp_path / "aside")
    assert find(gone_secret) == gone
    (tmp_path / "aside").rename(path)
    assert find(gone_secret) is None
    assert find(kept_secret) == kept


def keyring(path: Path, clock: Clock) -> Callable[[str], ApiKey | None]:
    found = Keyring(path, clock)

    def find(secret: str) -> ApiKey | None:
        clock.now += 2
        return found.find(secret)

    return find


def test_keys_are_followed_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    (first, one), (second, two) = new_key("a", [Scope.READ]), new_key("a", [Scope.READ])
    write_keys(path, [first])
    find = keyring(path, Clock())
    assert find(one) == first
    assert find(two) is None
    write_keys(path, [second])
    assert find(one) is None
    assert find(two) == second
    for broken in ('{"keys": [', '{"keys": [{"id": 1}]}', ""):
        path.write_text(broken)
        assert find(two) == second
        assert find(one) is None
    path.unlink()
    assert find(two) == second
    write_keys(path, [])
    assert find(two) is None


def test_a_key_ends_when_it_says(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    for year, valid in ((2020, False), (2999, True)):
        ends = datetime(year, 1, 1, tzinfo=timezone.utc)
        key, secret = new_key("a", [Scope.READ], expires=ends)
        write_keys(path, [key])
        assert (Keyring(path).find(secret) is not None) is valid


def test_a_file_of_keys_is_its_owners_and_has_no_secret(tmp_path: Path) -> None:
    key, secret = new_key("a", [Scope.READ, Scope.ADMIN], requests_per_second=5, concurrent=2)
    path = tmp_path / "keys.json"
    write_keys(path, [key])
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret[16:] not in path.read_text()
    assert read_keys(path) == (key,)
    os.chmod(path, 0o640)
    write_keys(path, [key])
    assert path.stat().st_mode & 0o777 == 0o640
    assert len(list(tmp_path.iterdir())) == 1


def refused(limits: Limits, key: ApiKey, times: int) -> list[bool]:
    answers = []
    for _ in range(times):
        limit = limits.of(key)
        assert limit is not None
        try:
            limit.take()
            answers.append(False)
        except TooManyRequests:
            answers.append(True)
    return answers


def test_a_rate_allows_a_seconds_worth_at_once_and_then_refills() -> None:
    clock = Clock()
    limits = Limits(0, 0, 2, clock)
    key, _ = new_key("a", [Scope.READ], requests_per_second=8)
    assert refused(limits, key, 6) == [False] * 4 + [True] * 2
    clock.now += 0.25
    assert refused(limits, key, 2) == [False, True]
    clock.now += 100
    assert refused(limits, key, 5) == [False] * 4 + [True]
    slow, _ = new_key("b", [Scope.READ], requests_per_second=0.1)
    assert refused(limits, slow, 2) == [False, True]
    with pytest.raises(TooManyRequests) as failed:
        limits.of(slow).take()  # type: ignore[union-attr]
    assert 1 <= failed.value.retry_after_s <= 60


def test_concurrency_counts_what_runs_by_name() -> None:
    limits = Limits(0, 2, 1, Clock())
    old, _ = new_key("a", [Scope.READ])
    new, _ = new_key("a", [Scope.READ])
    other, _ = new_key("b", [Scope.READ])
    assert refused(limits, old, 1) + refused(limits, new, 2) == [False, False, True]
    assert refused(limits, other, 1) == [False]
    limits.of(old).give_back()  # type: ignore[union-attr]
    assert refused(limits, new, 2) == [False, True]


def test_requests_are_given_back_to_their_limit_however_they_end(tmp_path: Path) -> None:
    key, secret = new_key("a", [Scope.READ], concurrent=1)
    write_keys(tmp_path / "keys.json", [key])
    headers = {"Authorization": f"Bearer {secret}"}
    settings = {"gateway__keys_file": tmp_path / "keys.json", "gateway__processes": 1}
    with service(tmp_path, **settings) as here:
        for path in ("/v1/models", "/v1/models/none", "/nowhere", "/v1/lookup", "/v1/prefetch"):
            for _ in range(3):
                assert here.http.get(path, headers=headers).status_code in (200, 403, 404, 405)


def test_a_limit_of_the_settings_is_answered_429_with_retry_after(tmp_path: Path) -> None:
    key, secret = new_key("a", [Scope.READ])
    write_keys(tmp_path / "keys.json", [key])
    settings = {
        "gateway__keys_file": tmp_path / "keys.json",
        "gateway__processes": 1,
        "gateway__key_requests_per_second": 0.01,
    }
    headers = {"Authorization": f"Bearer {secret}"}
    with service(tmp_path, **settings) as here:
        assert here.http.get("/v1/models", headers=headers).status_code == 200
        answer = here.http.get("/v1/models", headers=headers)
        assert code_of(answer) == (429, "too_many_requests")
        assert int(answer.headers["Retry-After"]) >= 1
        assert here.http.get("/v2/health/live", headers=headers).status_code == 429
        assert here.http.get("/v2/health/live").status_code == 200


def test_a_request_whose_time_is_over_is_not_begun(tmp_path: Path) -> None:
    body = {"model": "words", "items": ["a"]}
    with service(tmp_path) as here:
        answer = here.http.post("/v1/lookup", json=body, headers={"X-Request-Timeout-Ms": "0"})
        assert code_of(answer) == (504, "deadline_exceeded")
        assert here.queue.status()[Lane.INTERACTIVE].depth == 0
        for wrong in ("-1", "1.5", "soon", "", "1" * 10, "²"):
            headers = {"X-Request-Timeout-Ms": wrong}
            answer = here.http.get("/v1/models", headers=headers)
            assert code_of(answer) == (400, "invalid_timeout"), wrong


def test_nobody_waits_beyond_the_deadline(tmp_path: Path) -> None:
    # The wait asked for is longer than the test may take.
    body = {"model": "words", "items": ["a"], "on_miss": "wait", "wait_ms": 600_000}
    key = Key("words", GENERATION, digest(text_input("b")))
    with service(tmp_path, gateway__max_wait_ms=600_000) as here:
        headers = {"X-Request-Timeout-Ms": "200"}
        answer = here.http.post("/v1/lookup", json=body, headers=headers)
        assert json_of(answer)["items"][0]["status"] == "oov"
        here.put_vector(key, vector_of(key, DIMENSION))
        body["items"] = ["b"]
        answer = here.http.post("/v1/lookup", json=body, headers={"X-Request-Timeout-Ms": "60000"})
        assert json_of(answer)["items"][0]["status"] == "hit"
