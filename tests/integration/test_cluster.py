"""A local cluster of real servers: a Cassandra node and Kafka, as `embark cluster` runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from embark.cluster.local import LocalCluster
from embark.errors import ConfigurationError, Unavailable
from embark.ports import free_port
from tests.support.freezing import freeze, thaw
from tests.support.stack import wait_until

pytestmark = pytest.mark.stack

PARTS = ["cassandra-1", "kafka"]


def silent(line: str) -> None: ...


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    # Its name would break an argument, a URL or a list that is not quoted as it must be.
    folder = tmp_path_factory.mktemp("cluster") / 'a "folder", 100% odd'
    made = LocalCluster(folder, cassandra_port=free_port(), kafka_port=free_port())
    made.start(print)
    try:
        yield made
    finally:
        made.stop()


def pids(cluster: LocalCluster) -> dict[str, int | None]:
    return {part.part: part.pid for part in cluster.status()}


def states(cluster: LocalCluster) -> dict[str, str]:
    return {part.part: part.state for part in cluster.status()}


def command(cluster: LocalCluster, *arguments: str) -> tuple[int, Any]:
    argv = [sys.executable, "-m", "embark", "cluster", *arguments, "--json"]
    argv += ["--data", str(cluster.folder)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False)
    return done.returncode, json.loads(done.stdout)


def test_a_started_cluster_is_up_and_a_second_start_changes_nothing(cluster: LocalCluster) -> None:
    before = pids(cluster)
    assert states(cluster) == dict.fromkeys(PARTS, "up")
    status, addresses = command(cluster, "start")
    assert status == 0
    assert addresses["contact_points"] == ["127.0.0.1"]
    assert pids(cluster) == before
    status, answer = command(cluster, "status")
    assert (status, [part["state"] for part in answer["parts"]]) == (0, ["up", "up"])


def test_it_listens_on_loopback_only(cluster: LocalCluster) -> None:
    for pid in pids(cluster).values():
        sockets = psutil.Process(pid).net_connections()
        listening = {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}


def test_killed_parts_are_down_and_a_start_heals_them(cluster: LocalCluster) -> None:
    for killed in PARTS:
        before = pids(cluster)
        pid = before[killed]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        def is_down(part: str = killed) -> bool:
            return states(cluster)[part] == "down"

        wait_until(is_down, 60, "it is down")
        status, _ = command(cluster, "status")
        assert status == 1
        cluster.start(print)
        after = pids(cluster)
        assert states(cluster) == dict.fromkeys(PARTS, "up")
        assert {part for part in PARTS if after[part] != before[part]} == {killed}


def test_a_frozen_part_is_silent(cluster: LocalCluster) -> None:
    pid = cluster.pid("kafka")
    assert pid is not None
    kafka = [psutil.Process(pid)]
    try:
        freeze(kafka)
        assert states(cluster)["kafka"] == "silent"
    finally:
        thaw(kafka)
    wait_until(lambda: states(cluster)["kafka"] == "up", 60, "it answers again")


def test_a_port_in_use_is_named(cluster: LocalCluster, tmp_path: Path) -> None:
    port = int(cluster.status()[0].address.rpartition(":")[2])
    other = LocalCluster(tmp_path, cassandra_port=port, kafka_port=free_port())
    with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"):
        other.start(silent)
    assert other.status() == []


def test_a_start_that_fails_stops_what_it_began(cluster: LocalCluster) -> None:
    cluster.stop()

    def kill_kafka() -> None:
        wait_until(lambda: cluster.pid("kafka") is not None, 60, "Kafka starts")
        pid = cluster.pid("kafka")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_kafka)
    killer.start()
    with pytest.raises(Unavailable, match=r"kafka ended; the end of its logs in .*\n"):
        cluster.start(silent)
    killer.join()
    assert states(cluster) == dict.fromkeys(PARTS, "down")


def test_stop_leaves_no_process_and_purge_no_folder(cluster: LocalCluster) -> None:
    cluster.start(print)
    running = [pid for pid in pids(cluster).values() if pid is not None]
    assert len(running) == 2
    assert command(cluster, "stop") == (0, {"stopped": PARTS})
    wait_until(lambda: not any(map(psutil.pid_exists, running)), 60, "init has collected them")
    assert cluster.folder.exists()
    assert command(cluster, "stop", "--purge") == (0, {"stopped": []})
    assert not cluster.folder.exists()
    assert command(cluster, "status") == (1, {"parts": []})
