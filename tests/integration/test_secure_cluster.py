"""Archive and queue on servers that want TLS and ask who comes, as those of production do.

Whatever goes wrong is told in a bounded time, and nothing that is told has a password in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from structlog.testing import capture_logs

from embark.config import Configuration, to_environment
from embark.errors import (
    ArchiveUnavailable,
    ConfigurationError,
    QueueUnavailable,
)
from embark.inputs import Input, InputKind
from embark.keys import Key, digest
from embark.queue.base import Delivery, Lane, Request
from embark.queue.kafka import KafkaQueue, topics
from embark.settings import KafkaSettings
from embark.store.base import MISSING
from embark.store.cassandra import CassandraStore, Claims, Connection, schema
from tests.support.cluster import applied, connected, unique
from tests.support.secure import Authority, SecureServers, secure_servers
from tests.support.stack import succeeds, wait_until

pytestmark = pytest.mark.cluster

USER, PLAIN_USER = "embark", "plain"
PASSWORD, WRONG_PASSWORD = "kept-e7c41b", "typo-93fd05"
ARCHIVE, QUEUE = "archive__cassandra__", "queue__kafka__"
GENERATION = "0" * 16
ALL = 10**9
ANSWER_S, HEAL_S, REFUSE_S = 30, 60, 60

Changes = dict[str, Any]
Configure = Callable[..., Configuration]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureServers]:
    folder = tmp_path_factory.mktemp("secure")
    with secure_servers(folder, PLAIN_USER, PASSWORD) as running:
        running.cql(f"CREATE ROLE {USER} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true")
        running.set_kafka_user(USER, PASSWORD)
        yield running


@pytest.fixture(scope="module")
def configure(servers: SecureServers) -> Configure:
    """Makes settings of somebody whom both servers know, with changes; their schema is applied."""
    somebody = {"user": USER, "password": PASSWORD}
    known = of(ARCHIVE, {**somebody, "keyspace": unique("s")})
    known |= of(QUEUE, {**somebody, "prefix": unique("s")})

    def configured(**changes: Any) -> Configuration:
        return servers.configuration(**{**known, **changes})

    applied(configured())
    return configured


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that signed nothing on the servers."""
    return Authority(tmp_path_factory.mktemp("stranger") / "authority")


@pytest.fixture(scope="module")
def mistakes(stranger: Authority) -> dict[str, Changes]:
    """What may be wrong in settings, by name; of a section."""
    return {
        "password": {"password": WRONG_PASSWORD},
        "authority": {"tls__authority": str(stranger.file)},
        "missing-file": {"tls__authority": "/no/such/authority.pem"},
    }


@pytest.fixture(scope="module")
def certified(servers: SecureServers) -> Changes:
    """A client that shows a certificate, asked or not, to nodes whose own may name no address."""
    client = servers.authority.issue("client")
    shown = {"tls__certificate": str(client.file), "tls__key": str(client.key)}
    return {**shown, "tls__check_hostname": False}


@pytest.fixture(scope="module")
def claims(configure: Configure, certified: Changes) -> Iterator[Claims]:
    settings = configure(**of(ARCHIVE, certified)).settings.archive.cassandra
    with closing(Connection(settings)) as connection:
        yield Claims(connection, 3600)


CALLS: dict[str, Callable[[KafkaSettings, Claims], object]] = {
    "apply": lambda settings, _: list(topics.apply(settings)),
    "put": lambda settings, claims: on_queue(settings, claims, lambda it: it.put([request()])),
    "dead": lambda settings, claims: on_queue(settings, claims, lambda it: it.dead(1)),
    "status": lambda settings, claims: on_queue(settings, claims, lambda it: it.status()),
}


@pytest.fixture(scope="module", autouse=True)
def refused(
    configure: Configure, mistakes: dict[str, Changes], claims: Claims
) -> Iterator[dict[tuple[str, str], Future[object]]]:
    """Every call to Kafka with every mistake: begun at once, since each takes all its time."""
    with ThreadPoolExecutor(len(CALLS) * len(mistakes)) as pool:
        yield {
            (call, mistake): pool.submit(
                CALLS[call], configure(**of(QUEUE, mistakes[mistake])).settings.queue.kafka, claims
            )
            for call in CALLS
            for mistake in mistakes
        }


@pytest.fixture(autouse=True)
def no_log_tells_a_password(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not secrets(caplog.text)


def of(section: str, changes: Changes) -> Changes:
    return {f"{section}{name}": value for name, value in changes.items()}


def secrets(text: str) -> list[str]:
    return [secret for secret in (PASSWORD, WRONG_PASSWORD) if secret in text]


def whole(error: BaseException) -> str:
    """All that an error says, with its causes."""
    return "".join(traceback.format_exception(error))


def request(size: int = 8) -> Request:
    item = Input(InputKind.TEXT, os.urandom(8).hex().encode().ljust(size, b"x"))
    return Request(Key("m", GENERATION, digest(item)), item, Lane.INTERACTIVE)


def on_queue(
    settings: KafkaSettings, claims: Claims, call: Callable[[KafkaQueue], object]
) -> object:
    """Call it, and again until its failure has a reason, which is told a moment later."""
    ends = time.monotonic() + REFUSE_S / 2
    with closing(KafkaQueue(settings, claims)) as queue:
        while True:
            try:
                return call(queue)
            except QueueUnavailable as error:
                if "; " in error.message or time.monotonic() > ends:
                    raise
            time.sleep(0.5)


def take(queue: KafkaQueue, count: int) -> list[Delivery]:
    taken: list[Delivery] = []

    def came() -> bool:
        taken.extend(queue.take(Lane.INTERACTIVE, count - len(taken), ALL))
        return len(taken) == count

    wait_until(came, ANSWER_S, f"{count} requests come")
    return taken


def use_archive(connection: Connection) -> None:
    """Write and read a record, and a large input."""
    store, large = CassandraStore(connection), os.urandom(600_000)
    written, other = os.urandom(32), os.urandom(32)
    store.put_many("m", GENERATION, {written: b"record"})
    assert store.get_many("m", GENERATION, [written, other], ANSWER_S) == [b"record", MISSING]
    claims = Claims(connection, 3600)
    claim = claims.put(large)
    assert claims.get(claim, len(large)) == large
    claims.delete([(claim, len(large))])
    assert claims.get(claim, len(large)) is None


def doctor(configuration: Configuration) -> tuple[int, dict[str, Any]]:
    """Run `embark doctor`, told everything by its environment, and check that no secret is out."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("EMBARK_")}
    done = subprocess.run(
        [sys.executable, "-m", "embark", "doctor", "--json"],
        env={**others, **to_environment(configuration)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not secrets(done.stdout + done.stderr)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_archive_works_for_a_role_over_tls(configure: Configure) -> None:
    with closing(connected(configure().settings.archive.cassandra)) as connection:
        use_archive(connection)


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        ("password", "password are incorrect"),
        ("authority", "certificate verify failed"),
        ("missing-file", "/no/such/authority.pem"),
    ],
)
def test_the_archive_says_why_it_cannot_be_used(
    configure: Configure, mistakes: dict[str, Changes], mistake: str, says: str
) -> None:
    settings = configure(**of(ARCHIVE, mistakes[mistake])).settings.archive.cassandra

    def connect() -> None:
        with closing(Connection(settings)) as connection:
            connection.wait_settled(REFUSE_S)
            connection.use()

    for call in (connect, lambda: list(schema.apply(settings))):
        with pytest.raises(ArchiveUnavailable, match=says) as caught:
            call()
        assert not secrets(whole(caught.value))


def test_the_archive_heals_when_its_role_is_made(
    servers: SecureServers, configure: Configure
) -> None:
    role = unique("r")
    settings = configure(**of(ARCHIVE, {"user": role})).settings.archive.cassandra
    with closing(Connection(settings)) as connection:
        connection.wait_settled(REFUSE_S)
        with pytest.raises(ArchiveUnavailable, match=role):
            connection.use()
        servers.cql(f"CREATE ROLE {role} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true")
        wait_until(lambda: succeeds(connection.use), HEAL_S, "the role is let in")
        use_archive(connection)


def test_doctor_finds_both_well_and_hides_the_passwords(configure: Configure) -> None:
    _, found = doctor(configure())
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert [states[name] for name in ("driver", "archive", "queue")] == ["ok"] * 3
    settings = {one["name"]: one for one in found["settings"]}
    for section, variable in (
        ("archive.cassandra", "EMBARK_ARCHIVE__CASSANDRA__PASSWORD"),
        ("queue.kafka", "EMBARK_QUEUE__KAFKA__PASSWORD"),
    ):
        assert settings[f"{section}.password"]["source"] == variable
        assert set(settings[f"{section}.password"]["value"]) == {"*"}


def test_doctor_tells_wrong_passwords_apart_from_outages(
    configure: Configure, mistakes: dict[str, Changes]
) -> None:
    wrong = mistakes["password"]
    status, found = doctor(configure(**of(ARCHIVE, wrong), **of(QUEUE, wrong)))
    checks = {check["name"]: check for check in found["checks"]}
    assert status == 1
    assert [checks[name]["state"] for name in ("archive", "queue")] == ["error"] * 2
    assert "password are incorrect" in checks["archive"]["detail"]
    assert "uthentication failed" in checks["queue"]["detail"]


# From here on Cassandra asks clients for a certificate, and its own names no address.


@pytest.fixture(scope="module")
def outlasting(
    servers: SecureServers, configure: Configure, certified: Changes
) -> Iterator[tuple[Connection, str]]:
    """A connection from before Cassandra's restart, and its role, whose password is another now."""
    role = unique("r")
    servers.cql(f"CREATE ROLE {role} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true")
    settings = configure(**of(ARCHIVE, {**certified, "user": role})).settings.archive.cassandra
    with closing(connected(settings)) as connection:
        use_archive(connection)
        servers.cql(f"ALTER ROLE {role} WITH PASSWORD = '{WRONG_PASSWORD}'")
        server = servers.authority.issue("other-server", "DNS:cassandra.test")
        servers.restart_cassandra(server, asks=True)
        yield connection, role


@pytest.mark.usefixtures("outlasting")
def test_the_archive_works_for_a_client_with_a_certificate(
    configure: Configure, certified: Changes
) -> None:
    settings = configure(**of(ARCHIVE, certified)).settings.archive.cassandra
    assert list(schema.apply(settings)) == []
    with closing(connected(settings)) as connection:
        use_archive(connection)


@pytest.mark.usefixtures("outlasting")
@pytest.mark.parametrize("shows", ["no certificate", "a certificate of a stranger"])
def test_the_archive_says_that_its_certificate_is_refused(
    configure: Configure, stranger: Authority, shows: str
) -> None:
    changes: Changes = {"tls__check_hostname": False}
    if shows != "no certificate":
        client = stranger.issue("client")
        changes |= {"tls__certificate": str(client.file), "tls__key": str(client.key)}
    settings = configure(**of(ARCHIVE, changes)).settings.archive.cassandra
    with pytest.raises(ArchiveUnavailable, match="TLS fails"):
        list(schema.apply(settings))


@pytest.mark.usefixtures("outlasting")
def test_an_address_that_is_not_certified_is_refused(
    configure: Configure, certified: Changes
) -> None:
    checked = {**certified, "tls__check_hostname": True}
    settings = configure(**of(ARCHIVE, checked)).settings.archive.cassandra
    with pytest.raises(ArchiveUnavailable, match=r"not valid for '127\.0\.0\.1'"):
        list(schema.apply(settings))


@pytest.mark.parametrize("way", ["scram", "plain", "certificate"])
def test_requests_travel_for_whoever_shows(
    servers: SecureServers, configure: Configure, certified: Changes, claims: Claims, way: str
) -> None:
    client = servers.authority.issue("client-of-kafka")
    ways: dict[str, Changes] = {
        "scram": {},
        "plain": {"mechanism": "PLAIN", "user": PLAIN_USER},
        "certificate": {
            "bootstrap": [servers.certified],
            "user": "",
            "tls__certificate": str(client.file),
            "tls__key": str(client.key),
        },
    }
    changes = of(QUEUE, {**ways[way], "prefix": unique("s")}) | of(ARCHIVE, certified)
    settings = applied(configure(**changes)).settings.queue.kafka
    small, large = request(), request(settings.inline_bytes + 1)
    wait_until(lambda: succeeds(lambda: claims.get(b"none", 1)), HEAL_S, "claims can be kept")
    with closing(KafkaQueue(settings, claims)) as queue:
        queue.put([small, large])
        deliveries = {one.request.key: one for one in take(queue, 2)}
        assert deliveries[large.key].request == large
        queue.ack([deliveries[large.key]])
        queue.retry(deliveries[small.key], 0)
        (again,) = take(queue, 1)
        assert (again.request, again.attempt) == (small, 2)
        queue.bury(again, "tried", "in vain")
        assert [letter.code for letter in queue.dead(10)] == ["tried"]
        wait_until(
            lambda: succeeds(queue.status) and queue.status()[Lane.INTERACTIVE].depth == 0,
            ANSWER_S,
            "nothing waits",
        )


def test_the_queue_heals_when_its_user_is_made(
    servers: SecureServers, configure: Configure, claims: Claims
) -> None:
    user = unique("u")
    settings = configure(**of(QUEUE, {"user": user})).settings.queue.kafka
    with closing(KafkaQueue(settings, claims)) as queue:
        assert queue.take(Lane.INTERACTIVE, 1, ALL) == []
        with pytest.raises(QueueUnavailable):
            queue.put([request()])
        servers.set_kafka_user(user, PASSWORD)
        wait_until(lambda: succeeds(lambda: queue.put([request()])), HEAL_S, "the user is let in")
        take(queue, 1)


@pytest.mark.parametrize("checked", [True, False])
def test_a_broker_by_a_name_that_is_not_certified_needs_the_check_off(
    configure: Configure, claims: Claims, checked: bool
) -> None:
    (address,) = configure().settings.queue.kafka.bootstrap
    named = {
        "bootstrap": [f"localhost:{address.rpartition(':')[2]}"],
        "tls__check_hostname": checked,
    }
    settings = configure(**of(QUEUE, named)).settings.queue.kafka
    assert succeeds(lambda: CALLS["put"](settings, claims)) is not checked


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        ("password", "uthentication failed"),
        ("authority", "certificate verify failed"),
        ("missing-file", "/no/such/authority.pem"),
    ],
)
def test_the_queue_says_why_it_cannot_be_used(
    refused: dict[tuple[str, str], Future[object]], call: str, mistake: str, says: str
) -> None:
    raised = ConfigurationError if mistake == "missing-file" else QueueUnavailable
    with pytest.raises(raised, match=says) as caught:
        refused[call, mistake].result(REFUSE_S)
    assert not secrets(whole(caught.value))


def test_a_consumer_that_is_refused_says_so(
    configure: Configure, mistakes: dict[str, Changes], claims: Claims
) -> None:
    """It has nobody to raise an error to."""
    settings = configure(**of(QUEUE, mistakes["password"])).settings.queue.kafka
    with capture_logs() as events, closing(KafkaQueue(settings, claims)) as queue:
        assert queue.take(Lane.INTERACTIVE, 1, ALL) == []
        wait_until(
            lambda: any("uthentication failed" in str(event.get("reason")) for event in events),
            REFUSE_S,
            f"it is told: {events}",
        )
    assert not secrets(str(events))


def test_a_connection_that_was_refused_for_a_while_heals(
    servers: SecureServers, outlasting: tuple[Connection, str]
) -> None:
    """Nodes refuse known users too, while they cannot read their own tables."""
    connection, role = outlasting
    with pytest.raises(ArchiveUnavailable):
        connection.use()
    servers.cql(f"ALTER ROLE {role} WITH PASSWORD = '{PASSWORD}'")
    wait_until(lambda: succeeds(connection.use), HEAL_S, "the role is let in again")
    use_archive(connection)
