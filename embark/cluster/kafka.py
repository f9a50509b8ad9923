"""The Kafka broker: its configuration, and the commands that format its storage and run it.

One process is broker and controller (KRaft). Not for trying out replication.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from embark.cluster.java import common_flags
from embark.cluster.maven import Artefact
from embark.cluster.plan import HOST, Plan
from embark.cluster.probe import kafka_answers
from embark.cluster.tool import run_tool

JARS: Final = "kafka-4.1.0"
ARTEFACTS: Final = (
    Artefact("org.apache.kafka", "kafka_2.13", "4.1.0"),
    # Its logs go nowhere without: the distribution has this, the artefact does not depend on it.
    Artefact("org.apache.logging.log4j", "log4j-slf4j-impl", "2.24.3"),
)

_HEAP_MEGABYTES = 512
_FORMAT_SECONDS = 120
_DATA = "data"

_PROPERTIES = """\
# Written by `embark cluster start`, again at each start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{plan.controller_port}
listeners=PLAINTEXT://{host}:{plan.kafka_port},CONTROLLER://{host}:{plan.controller_port}
advertised.listeners=PLAINTEXT://{host}:{plan.kafka_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
# A broker that was killed is refused until its former session has ended; 9 s is the default.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
controller.listener.names=CONTROLLER

# No log.flush.*: an acknowledged record is in the page cache, which outlives a killed process.
log.dirs={data}
log.segment.bytes=67108864
log.retention.hours=168
log.cleaner.dedupe.buffer.size=16777216
num.partitions=1
auto.create.topics.enable=false

default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4

# Groups form at once, and a killed consumer's partitions move after six seconds.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.heartbeat.interval.ms=1000

num.network.threads=2
num.io.threads=4
"""

_LOG4J = """\
<Configuration status="warn">
  <Appenders>
    <RollingFile name="file" fileName="logs/server.log" filePattern="logs/server.log.%i">
      <PatternLayout pattern="%d{ISO8601} %-5p [%t] %c{1} %m%n"/>
      <SizeBasedTriggeringPolicy size="20MB"/>
      <DefaultRolloverStrategy max="1"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Root level="info">
      <AppenderRef ref="file"/>
    </Root>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True)
class KafkaBroker:
    """The broker."""

    plan: Plan
    folder: Path

    name: ClassVar[str] = "kafka"
    host: ClassVar[str] = HOST

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self.plan.kafka_port

    @property
    def listens(self) -> tuple[tuple[str, int], ...]:
        """Every address and port it takes."""
        return (self.host, self.port), (self.host, self.plan.controller_port)

    def answers(self) -> bool:
        """Whether it serves."""
        return kafka_answers(self.host, self.port)

    def configure(self) -> None:
        """Write its configuration."""
        (self.folder / "server.properties").write_text(self.properties(), encoding="utf-8")
        (self.folder / "log4j2.xml").write_text(_LOG4J, encoding="utf-8")

    def properties(self) -> str:
        """Return its server.properties."""
        return _PROPERTIES.format(plan=self.plan, host=self.host, data=_DATA)

    def format(self, java: Path, jars: Path) -> None:
        """Make its storage, unless it is there.

        Raises:
            ConfigurationError: Kafka refused.
        """
        # Kafka writes this file last.
        if (self.folder / _DATA / "meta.properties").exists():
            return
        command = [*self._java(java, jars), "kafka.tools.StorageTool", "format"]
        command += [f"--cluster-id={self.plan.name}", "--config", "server.properties"]
        what = "Kafka could not make its storage"
        run_tool(command, self.folder, _FORMAT_SECONDS, what, f"is {self.folder} on a slow disk?")

    def command(self, java: Path, jars: Path, marks: list[str]) -> list[str]:
        """Return what starts it, in its folder."""
        return [*self._java(java, jars), *marks, "kafka.Kafka", "server.properties"]

    def _java(self, java: Path, jars: Path) -> list[str]:
        return [
            str(java),
            *common_flags(self.folder, _HEAP_MEGABYTES),
            "-Dlog4j2.configurationFile=log4j2.xml",
            "-cp",
            f"{jars}/*",
        ]
