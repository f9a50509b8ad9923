from __future__ import annotations

from pathlib import Path

import pytest

from embark.config import load, to_environment
from embark.errors import ConfigurationError


def test_later_sources_win_and_are_remembered(tmp_path: Path) -> None:
    file = tmp_path / "embark.toml"
    file.write_text("[gateway]\nport = 1000\nthreads = 3\nprocesses = 4\n")
    environment = {"EMBARK_GATEWAY__PORT": "2000", "EMBARK_GATEWAY__THREADS": "5", "PATH": "x"}
    configuration = load(file=file, environment=environment, overrides={"gateway.port": 3000})
    gateway = configuration.settings.gateway
    assert (gateway.port, gateway.threads, gateway.processes) == (3000, 5, 4)
    sources = {leaf.path: leaf.source for leaf in configuration.leaves()}
    assert sources["gateway.port"] == "command line"
    assert sources["gateway.threads"] == "EMBARK_GATEWAY__THREADS"
    assert sources["gateway.processes"] == str(file)
    assert sources["data"] == "default"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"EMBARK_GATEWAY__PROT": "1"}, ["EMBARK_GATEWAY__PROT", "gateway.prot"]),
        ({"EMBARK_GATEWAY__PORT": "no"}, ["gateway.port", "'no'", "EMBARK_GATEWAY__PORT"]),
        ({"EMBARK_GATEWAY__PORT": "70000"}, ["gateway.port", "65535"]),
    ],
)
def test_wrong_values_are_named(environment: dict[str, str], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        load(environment=environment)
    assert all(word in error.value.message for word in words)


@pytest.mark.parametrize("content", ["port = ", "[gateway]\nprot = 1", "gateway = 3", "\xff"])
def test_a_wrong_file_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "embark.toml"
    file.write_text(content, "latin-1")
    with pytest.raises(ConfigurationError, match=r"embark\.toml"):
        load(file=file, environment={})


def test_another_process_gets_the_same_settings(tmp_path: Path) -> None:
    overrides = {
        "data": tmp_path / "a folder",
        "gateway.port": 1234,
        "consumer.fetch.allow_networks": ["127.0.0.2/32", "fd00::/8"],
    }
    first = load(environment={}, overrides=overrides)
    second = load(environment=to_environment(first))
    assert second.settings == first.settings


def test_secrets_reach_other_processes_and_nobody_else() -> None:
    environment = {"EMBARK_ARCHIVE__CASSANDRA__PASSWORD": "hunter2"}
    configuration = load(environment=environment)
    leaf = next(one for one in configuration.leaves() if one.path.endswith("cassandra.password"))
    assert "hunter2" not in f"{leaf} {leaf.value} {configuration}"
    assert leaf.value.get_secret_value() == "hunter2"
    assert to_environment(configuration) == environment


@pytest.mark.parametrize(
    "changes",
    [
        {"archive.cassandra.password": ["hunter2"]},
        {"archive.cassandra.password": "hunter2", "archive.cassandra.replication": ["dc"]},
        {"queue.kafka.password": "hunter2", "queue.backend": "kafka"},
        {"queue.kafka.password": "hunter2", "queue.kafka.partitions": 0},
    ],
)
def test_errors_do_not_tell_secrets(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as error:
        load(environment={}, overrides=changes)
    assert "hunter2" not in error.value.message


def test_a_queue_in_kafka_needs_the_archive_in_cassandra() -> None:
    with pytest.raises(ConfigurationError, match=r"archive\.backend cassandra"):
        load(environment={}, overrides={"queue.backend": "kafka"})


def test_an_optional_file_may_be_left_empty_in_the_environment() -> None:
    variable = "EMBARK_QUEUE__KAFKA__TLS__AUTHORITY"
    assert load(environment={variable: ""}).settings.queue.kafka.tls.authority is None
    assert str(load(environment={variable: "/a"}).settings.queue.kafka.tls.authority) == "/a"
