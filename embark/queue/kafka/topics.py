"""Names of topics and consumer groups, and making the topics: `embark schema apply`.

Each lane has its topic, and two for retries: one for those that are due soon, one for the others,
so that short delays do not queue behind long ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewPartitions, NewTopic

from embark.errors import QueueUnavailable
from embark.queue.base import Lane
from embark.queue.kafka.client import Refusals, client_options
from embark.settings import KafkaSettings

SHORT_SECONDS: Final = 2.0
"""Retries due within this time go to the lane's `retry.short` topic, others to `retry.long`."""

_ADMIN_SECONDS = 20.0
_SESSION = "consumer.session.timeout.ms"
_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Topics:
    """The names that follow from `queue.kafka.prefix`."""

    prefix: str

    @property
    def dead(self) -> str:
        """The topic of dead letters, of both lanes."""
        return f"{self.prefix}.dead"

    def requests(self, lane: Lane) -> str:
        """The topic of a lane's requests."""
        return f"{self.prefix}.{lane.value}"

    def retries(self, lane: Lane, delay_s: float) -> str:
        """The topic of a lane's retries that are due after `delay_s`."""
        name = "short" if delay_s <= SHORT_SECONDS else "long"
        return f"{self.prefix}.{lane.value}.retry.{name}"

    def of_lane(self, lane: Lane) -> list[str]:
        """All topics that a lane's consumers read."""
        return [
            self.requests(lane),
            self.retries(lane, SHORT_SECONDS),
            self.retries(lane, SHORT_SECONDS + 1),
        ]

    def group(self, lane: Lane) -> str:
        """The consumer group of a lane."""
        return f"{self.prefix}.{lane.value}"


def apply(settings: KafkaSettings) -> Iterator[str]:
    """Make missing topics, add partitions, set retention; yields what was changed, a line each.

    Raises:
        QueueUnavailable: Kafka cannot be reached, or refuses.
    """
    refusals, admin = Refusals(), None
    try:
        admin = AdminClient(client_options(settings, refusals))
        present = admin.list_topics(timeout=_ADMIN_SECONDS).topics
        wanted = list(_wanted(settings))
        missing = [one for one in wanted if one[0] not in present]
        if missing:
            made = [
                NewTopic(topic, partitions, settings.replication, config=options)
                for topic, partitions, options in missing
            ]
            _wait(admin.create_topics(made))
            for topic, partitions, _ in missing:
                yield f"kafka: topic {topic} made, {partitions} partitions"
        for topic, partitions, options in wanted:
            if topic not in present:
                continue
            copies = min(len(one.replicas) for one in present[topic].partitions.values())
            if copies < settings.replication:
                yield (
                    f"kafka: WARNING: topic {topic} has {copies} copies, not"
                    f" {settings.replication}; change it with kafka-reassign-partitions.sh"
                )
            if len(present[topic].partitions) < partitions:
                _wait(admin.create_partitions([NewPartitions(topic, partitions)]))
                yield f"kafka: topic {topic} now has {partitions} partitions"
            if _set(admin, ConfigResource.Type.TOPIC, topic, options):
                yield f"kafka: settings of topic {topic} changed"
        for lane in Lane:
            yield from _session(admin, settings, Topics(settings.prefix).group(lane))
    except (KafkaException, FutureTimeout) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
        if admin is not None:
            admin.poll(0)
        raise QueueUnavailable(refusals.add_to(f"the topics were not applied: {reason}")) from error


def _wanted(settings: KafkaSettings) -> Iterator[tuple[str, int, dict[str, str]]]:
    topics = Topics(settings.prefix)
    in_sync = {"min.insync.replicas": str(min(2, settings.replication))}
    kept = {"retention.ms": str(int(settings.retention_hours * _HOUR_MS)), **in_sync}
    for lane in Lane:
        for topic in topics.of_lane(lane):
            yield topic, settings.partitions, kept
    # A letter stays until it is replayed or purged, or has been kept long enough.
    dead = {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(int(settings.dead_retention_hours * _HOUR_MS)),
        **in_sync,
    }
    yield topics.dead, 1, dead


def _session(admin: AdminClient, settings: KafkaSettings, group: str) -> Iterator[str]:
    """Set the session timeout of a group, if the brokers allow it; their own works too."""
    milliseconds = str(int(settings.session_seconds * 1000))
    try:
        if _set(admin, ConfigResource.Type.GROUP, group, {_SESSION: milliseconds}):
            yield f"kafka: session timeout of group {group} is {settings.session_seconds:g} s"
    except KafkaException as error:
        if error.args[0].code() not in (KafkaError.INVALID_CONFIG, KafkaError.INVALID_REQUEST):
            raise
        yield (
            f"kafka: WARNING: the brokers refuse a session of {settings.session_seconds:g} s for"
            f" group {group} and keep their own, so a dead consumer's work waits that long: lower"
            " group.consumer.min.session.timeout.ms there, or raise"
            f" queue.kafka.session_seconds ({error.args[0].str()})"
        )


def _set(admin: AdminClient, kind: Any, name: str, options: dict[str, str]) -> bool:
    """Set options that differ; returns whether any did."""
    resource = ConfigResource(kind, name)
    (found,) = admin.describe_configs([resource], request_timeout=_ADMIN_SECONDS).values()
    present = found.result()
    changed = [
        ConfigEntry(option, value, incremental_operation=AlterConfigOpType.SET)
        for option, value in options.items()
        if option not in present or present[option].value != value
    ]
    if changed:
        target = ConfigResource(kind, name, incremental_configs=changed)
        _wait(admin.incremental_alter_configs([target], request_timeout=_ADMIN_SECONDS))
    return bool(changed)


def _wait(futures: dict[Any, Future[Any]]) -> None:
    for future in futures.values():
        future.result(_ADMIN_SECONDS)
