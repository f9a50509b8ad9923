"""A local cluster before any server starts: its plan, its configuration files, what it refuses."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

import pytest

from embark.cluster import maven, process
from embark.cluster.cassandra import CassandraNode
from embark.cluster.java import find_java
from embark.cluster.kafka import KafkaBroker
from embark.cluster.local import LocalCluster
from embark.cluster.lock import locked
from embark.cluster.plan import PLAN_FILE, Plan, draw, load, save
from embark.cluster.probe import cassandra_answers, kafka_answers
from embark.errors import ConfigurationError
from embark.ports import free_port

PLAN = Plan(
    name="9xR4mQ2sT0uC0hYvVg3b5A",
    nodes=3,
    cassandra_port=9042,
    kafka_port=9092,
    storage_port=21000,
    jmx_ports=(21001, 21002, 21003),
    controller_port=21004,
)


def nodes(plan: Plan = PLAN) -> list[CassandraNode]:
    return [CassandraNode(plan, number, Path("/data")) for number in range(1, plan.nodes + 1)]


def settings(text: str, separator: str) -> dict[str, str]:
    pairs = (line.partition(separator) for line in text.splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip() for name, found, value in pairs if found}


def ignore(line: str) -> None: ...


@pytest.mark.parametrize("count", [1, 3])
def test_the_nodes_share_the_whole_ring_in_equal_steps(count: int) -> None:
    tokens = sorted(
        (token, node.number)
        for node in nodes(replace(PLAN, nodes=count))
        for token in node.tokens()
    )
    assert len(tokens) == 16 * count
    assert tokens[0][0] == -(2**63)
    steps = {after[0] - before[0] for before, after in pairwise(tokens)}
    assert max(steps) - min(steps) <= 1
    assert [number for _, number in tokens] == list(range(1, count + 1)) * 16


def test_a_node_listens_on_its_own_loopback_address_only() -> None:
    for number, node in enumerate(nodes(), 1):
        yaml = settings(node.yaml(), ":")
        assert yaml["listen_address"] == yaml["rpc_address"] == f"127.0.0.{number}"
        assert yaml["storage_port"] == "21000"
        assert yaml["native_transport_port"] == "9042"
        command = node.command(Path("java"), Path("/jars"), [])
        assert f"-Dcassandra.jmx.local.port=2100{number}" in command
        assert not any("jmx.remote.port" in word for word in command)


def test_an_acknowledged_write_is_in_the_commit_log() -> None:
    yaml = settings(nodes()[0].yaml(), ":")
    assert yaml["commitlog_sync"] == "batch"
    assert "commitlog_compression" not in yaml


def test_the_broker_listens_on_loopback_only() -> None:
    properties = settings(KafkaBroker(PLAN, Path("/data")).properties(), "=")
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:21004"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9092"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:21004"
    assert properties["auto.create.topics.enable"] == "false"


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    save(PLAN, tmp_path)
    assert load(tmp_path) == PLAN


def test_a_damaged_plan_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).write_text('{"nodes": 1}')
    with pytest.raises(ConfigurationError, match=PLAN_FILE):
        load(tmp_path)


def test_two_plans_share_neither_name_nor_ports() -> None:
    first, second = draw(3, 9042, 9092), draw(3, 9042, 9092)
    assert first.name != second.name
    ports = [first.storage_port, first.controller_port, *first.jmx_ports]
    assert len(set(ports)) == 5


@pytest.mark.parametrize(
    ("count", "cassandra_port", "kafka_port", "says"),
    [(2, 9042, 9092, "1 or 3"), (1, 0, 9092, "--cassandra-port 0"), (1, 9042, 9042, "both 9042")],
)
def test_an_impossible_cluster_is_refused(
    count: int, cassandra_port: int, kafka_port: int, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        draw(count, cassandra_port, kafka_port)


def test_another_number_of_nodes_than_recorded_is_refused(tmp_path: Path) -> None:
    save(PLAN, tmp_path)
    with pytest.raises(ConfigurationError, match=r"has --nodes 3, not 1; .*--purge"):
        LocalCluster(tmp_path, nodes=1).start()


def test_a_folder_with_other_content_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="not empty"):
        LocalCluster(tmp_path).start()
    assert LocalCluster(tmp_path).stop() == []
    assert LocalCluster(tmp_path).stop(purge=True) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_nothing_was_started_in_an_unknown_folder(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "none")
    assert cluster.status() == []
    assert cluster.stop() == []
    assert cluster.pid("kafka") is None


def test_a_process_that_took_over_the_id_of_a_part_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        part = process.Process("kafka", stranger.pid, datetime.now(timezone.utc))
        assert process.end([part], 0.1) == []
        assert stranger.poll() is None
        stranger.kill()


def test_a_lock_is_refused_while_another_holds_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    said: list[str] = []
    with (
        locked(lock, 1, "testing", ignore),
        pytest.raises(ConfigurationError, match="has been testing"),
        locked(lock, 0.2, "testing", said.append),
    ):
        pytest.fail("two hold it")
    assert said == ["another process is testing; waiting for it"]


def test_a_removed_lock_file_does_not_let_two_in(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock, 1, "testing", ignore):
        lock.unlink()
        with locked(lock, 1, "testing", ignore):
            assert lock.exists()


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ('openjdk version "25.0.1" 2025-10-21', "Java 25"),
        ('java version "1.8.0_202"', "Java 8"),
        ("nonsense", "which fails"),
    ],
)
def test_another_java_is_named_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, message: str
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!{sys.executable}\nimport sys\nprint({says!r}, file=sys.stderr)\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"need Java 17: .*{message}.*set JAVA_HOME"):
        find_java()


def test_java_17_of_java_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.15\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() == java


ARTEFACT = maven.Artefact("group", "artifact", "1")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "cache" / "embark"


def fake_maven(folder: Path, program: str) -> None:
    mvn = folder / "mvn"
    mvn.write_text(f"#!{sys.executable}\nfrom pathlib import Path\nimport sys\n{program}\n")
    mvn.chmod(0o755)


def test_without_maven_the_error_says_what_to_install(cache: Path) -> None:
    with pytest.raises(ConfigurationError, match="no mvn on PATH, which fetches group:artifact:1"):
        maven.fetch_jars("one", [ARTEFACT], ignore)


def test_jars_are_fetched_once_and_only_when_maven_has_all(cache: Path, tmp_path: Path) -> None:
    fake_maven(tmp_path, "Path('jars').mkdir(); print('no route to host'); sys.exit(1)")
    with pytest.raises(ConfigurationError, match=r"it said:\s+no route to host"):
        maven.fetch_jars("one", [ARTEFACT], ignore)
    assert not (cache / "one").exists()

    fake_maven(
        tmp_path,
        "assert '<artifactId>artifact</artifactId>' in Path('pom.xml').read_text()\n"
        "Path('jars').mkdir(); Path('jars/a.jar').touch()",
    )
    said: list[str] = []
    for _ in range(2):
        assert maven.fetch_jars("one", [ARTEFACT], said.append) == cache / "one"
    assert [jar.name for jar in (cache / "one").iterdir()] == ["a.jar"]
    assert said == ["one: fetching its jars with Maven, once"]
    assert not (cache / "one.part").exists()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_port_of_another_server_does_not_answer(answer: bytes) -> None:
    def serve(server: socket.socket) -> None:
        for _ in range(2):
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        assert not cassandra_answers("127.0.0.1", port, 1)
        assert not kafka_answers("127.0.0.1", port)
        thread.join()


def test_a_free_port_does_not_answer() -> None:
    port = free_port()
    assert not cassandra_answers("127.0.0.1", port, 1)
    assert not kafka_answers("127.0.0.1", port)
