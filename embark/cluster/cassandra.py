"""One Cassandra node: its configuration, and the command that runs it.

Its data are safe against `kill -9` of any process. Not tuned for throughput.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embark.cluster.java import common_flags
from embark.cluster.maven import Artefact
from embark.cluster.plan import HOST, Plan
from embark.cluster.probe import cassandra_answers

JARS: Final = "cassandra-5.0.5"
ARTEFACTS: Final = (Artefact("org.apache.cassandra", "cassandra-all", "5.0.5"),)
DATA_CENTER: Final = "datacenter1"  # what SimpleSnitch calls it

_HEAP_MEGABYTES = {1: 1024, 3: 512}
_TOKENS = 16

# What Cassandra's own jvm17-server.options opens to it.
_EXPORTS = (
    "java.base/java.lang.ref",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.attach/sun.tools.attach",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.unsupported/sun.misc",
)
_OPENS = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.util",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.compiler/com.sun.tools.javac",
    "jdk.management/com.sun.management.internal",
)
MODULE_FLAGS: Final = (
    *(word for name in _EXPORTS for word in ("--add-exports", f"{name}=ALL-UNNAMED")),
    *(word for name in _OPENS for word in ("--add-opens", f"{name}=ALL-UNNAMED")),
)
"""What Java is told to open, for Cassandra and its tools."""

_YAML = """\
# Written by `embark cluster start`, again at each start.
cluster_name: "embark {plan.name}"
# Nodes that know their tokens join an empty ring at once, in any order, all at the same time;
# nodes that choose them must join one after another, and wait for gossip to settle.
num_tokens: {token_count}
initial_token: "{tokens}"
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "{seeds}"

listen_address: {host}
rpc_address: {host}
storage_port: {plan.storage_port}
native_transport_port: {plan.cassandra_port}

authenticator: AllowAllAuthenticator
authorizer: AllowAllAuthorizer
role_manager: CassandraRoleManager

# A replay ends at the last sync marker; only batch and group write it before they acknowledge.
commitlog_sync: batch
commitlog_segment_size: 32MiB
commitlog_total_space: 512MiB
# A node that cannot write ends, so that it is seen to be down.
disk_failure_policy: die
commit_failure_policy: die

storage_compatibility_mode: NONE
uuid_sstable_identifiers_enabled: true
sstable:
  selected_format: bti
memtable:
  configurations:
    trie:
      class_name: TrieMemtable
    default:
      inherits: trie
memtable_allocation_type: offheap_objects

# A node that comes back has what it missed within some ten seconds.
hinted_handoff_enabled: true
hints_flush_period: 1s
hinted_handoff_throttle: 16MiB
auto_hints_cleanup_enabled: true

concurrent_reads: 16
# Each only waits for the disk, and one sync serves all that wait: with fewer, a slow disk takes
# fewer writes than come, and those that waited too long come again.
concurrent_writes: 256
# As long as a client of ours waits: a write that was given up comes again.
write_request_timeout: 5s
concurrent_counter_writes: 4
concurrent_compactors: 1
auto_snapshot: false
# The cluster's own start waits for peers, and knows which of them run.
block_for_peers_timeout_in_secs: 0
"""

_LOGBACK = """\
<configuration>
  <appender name="file" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>logs/server.log</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>logs/server.log.%i</fileNamePattern>
      <minIndex>1</minIndex>
      <maxIndex>1</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>20MB</maxFileSize>
    </triggeringPolicy>
    <encoder>
      <pattern>%date{ISO8601} %-5level [%thread] %logger{0} %msg%n</pattern>
    </encoder>
  </appender>
  <root level="INFO">
    <appender-ref ref="file"/>
  </root>
</configuration>
"""


@dataclass(frozen=True)
class CassandraNode:
    """One node; `number` counts from 1."""

    plan: Plan
    number: int
    folder: Path

    @property
    def name(self) -> str:
        """What it is called."""
        return f"cassandra-{self.number}"

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.plan.hosts[self.number - 1]

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self.plan.cassandra_port

    @property
    def listens(self) -> tuple[tuple[str, int], ...]:
        """Every address and port it takes."""
        return (
            (self.host, self.port),
            (self.host, self.plan.storage_port),
            (HOST, self.plan.jmx_ports[self.number - 1]),
        )

    def answers(self, nodes: int = 1) -> bool:
        """Whether it serves, and reaches `nodes` nodes, itself included."""
        return cassandra_answers(self.host, self.port, nodes)

    def configure(self) -> None:
        """Write its configuration."""
        (self.folder / "cassandra.yaml").write_text(self.yaml(), encoding="utf-8")
        (self.folder / "logback.xml").write_text(_LOGBACK, encoding="utf-8")

    def yaml(self) -> str:
        """Return its cassandra.yaml."""
        return _YAML.format(
            plan=self.plan,
            host=self.host,
            # A seed may start while no other node runs.
            seeds=",".join(self.plan.hosts),
            token_count=_TOKENS,
            tokens=",".join(map(str, self.tokens())),
        )

    def tokens(self) -> list[int]:
        """Return its tokens: the nodes take turns on a ring in equal steps."""
        count = _TOKENS * self.plan.nodes
        return [
            turn * 2**64 // count - 2**63 for turn in range(self.number - 1, count, self.plan.nodes)
        ]

    def command(self, java: Path, jars: Path, marks: list[str]) -> list[str]:
        """Return what starts it, in its folder."""
        return [
            str(java),
            *common_flags(self.folder, _HEAP_MEGABYTES[self.plan.nodes]),
            *MODULE_FLAGS,
            "-Djdk.attach.allowAttachSelf=true",
            "-Dio.netty.tryReflectionSetAccessible=true",
            f"-Dcassandra.config={(self.folder / 'cassandra.yaml').as_uri()}",
            "-Dlogback.configurationFile=logback.xml",
            "-Dcassandra.storagedir=data",
            "-Dcassandra.logdir=logs",
            # Loopback only; `cassandra.jmx.remote.port` would listen everywhere.
            f"-Dcassandra.jmx.local.port={self.plan.jmx_ports[self.number - 1]}",
            "-Dcassandra.skip_wait_for_gossip_to_settle=0",
            "-Dcassandra.ring_delay_ms=100",
            # As long as by default, not twice the ring delay: nodes that start slowly would forget
            # each other, and changes of the schema might not reach them.
            "-Dcassandra.gossip_quarantine_delay_ms=60000",
            "-Dcassandra.shutdown_announce_in_ms=500",
            # A node that missed a change of the schema has it soon, not after a minute.
            "-Dcassandra.schema_pull_interval_ms=2000",
            *marks,
            "-cp",
            f"{jars}/*",
            "org.apache.cassandra.service.CassandraDaemon",
        ]
