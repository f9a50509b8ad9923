"""Real Cassandra and Kafka that ask every client who it is, over TLS; and certificates for both.

The servers are those of `embark cluster`, which knows no such options: here their configuration
says more. Not for authorisation: whoever is let in may do everything.
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cassandra import ProtocolVersion
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, NoHostAvailable, Session
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from embark.cluster import cassandra, kafka, plan, process
from embark.cluster.cassandra import CassandraNode
from embark.cluster.java import find_java
from embark.cluster.kafka import KafkaBroker
from embark.cluster.local import Addresses
from embark.cluster.maven import fetch_jars
from embark.cluster.plan import HOST
from embark.cluster.probe import kafka_answers
from embark.cluster.starting import STOP_SECONDS, Part
from embark.config import Configuration
from embark.ports import free_port
from tests.support.cluster import configuration
from tests.support.stack import wait_until

_SUPERUSER = "cassandra"  # and its password, in every new cluster
_START_SECONDS = 120

_OPENSSL = """\
[req]
distinguished_name = named
prompt = no
[named]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[issued]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {host}
"""
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

_CASSANDRA = """
client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: {asks}
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: "{server.both}"
  truststore: "{authority}"
"""

# Of what properties say twice, the last counts.
_KAFKA = """
listeners=USERS://{host}:{plan.kafka_port},CERTIFIED://{host}:{certified_port},\
INTERNAL://{host}:{internal_port},CONTROLLER://{host}:{plan.controller_port}
advertised.listeners=USERS://{host}:{plan.kafka_port},CERTIFIED://{host}:{certified_port},\
INTERNAL://{host}:{internal_port}
listener.security.protocol.map=USERS:SASL_SSL,CERTIFIED:SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
ssl.keystore.type=PEM
ssl.keystore.location={server.both}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.certified.ssl.client.auth=required
listener.name.users.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.users.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.users.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{plain_user}="{plain_password}";
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate, its key, and a file with both; all PEM."""

    file: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates.

    Args:
        folder: for its files; made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        folder.mkdir()
        self.file: Final = folder / "authority.pem"
        self._key: Final = folder / "authority.key"
        made: list[str | Path] = [
            "-x509",
            "-extensions",
            "authority",
            "-days",
            "2",
            "-out",
            self.file,
        ]
        made += ["-config", self._config("authority", "")]
        _openssl("req", "-new", *_NEW_KEY, "-keyout", self._key, *made)

    def issue(self, name: str, host: str = f"IP:{HOST}") -> Certificate:
        """Make and sign a certificate that is valid for `host`."""
        file, key, both = (self._folder / f"{name}.{end}" for end in ("pem", "key", "both.pem"))
        request = self._folder / f"{name}.csr"
        config = self._config(name, host)
        _openssl("req", "-new", *_NEW_KEY, "-keyout", key, "-config", config, "-out", request)
        signed: list[str | Path] = [
            "-CA",
            self.file,
            "-CAkey",
            self._key,
            "-CAcreateserial",
            "-days",
            "2",
        ]
        signed += ["-extfile", config, "-extensions", "issued", "-out", file]
        _openssl("x509", "-req", "-in", request, *signed)
        both.write_text(key.read_text() + file.read_text())
        return Certificate(file, key, both)

    def _config(self, name: str, host: str) -> Path:
        config = self._folder / f"{name}.cnf"
        config.write_text(_OPENSSL.format(name=name, host=host))
        return config


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class SecureNode(CassandraNode):
    """A node that wants TLS and a password; and a client's certificate, if it `asks`."""

    server: Certificate
    authority: Path
    asks: bool

    def yaml(self) -> str:
        anybody, known = "authenticator: AllowAllAuthenticator", "authenticator: Password"
        usual = super().yaml()
        assert anybody in usual
        options = {"server": self.server, "authority": self.authority, "asks": str(self.asks)}
        return usual.replace(anybody, f"{known}Authenticator") + _CASSANDRA.format(**options)

    def command(self, java: Path, jars: Path, marks: list[str]) -> list[str]:
        program, *flags = super().command(java, jars, marks)
        # Else the superuser is made after ten seconds.
        return [program, "-Dcassandra.superuser_setup_delay_ms=0", *flags]


@dataclass(frozen=True)
class SecureBroker(KafkaBroker):
    """A broker that wants TLS; on one port a user's password, on another a certificate."""

    server: Certificate
    authority: Path
    internal_port: int
    certified_port: int
    plain_user: str
    plain_password: str

    def properties(self) -> str:
        return super().properties() + _KAFKA.format(host=self.host, **vars(self))

    def answers(self) -> bool:
        return kafka_answers(self.host, self.internal_port)


class SecureServers:
    """One node of Cassandra and one broker of Kafka.

    Args:
        folder: for configuration, data, logs and certificates.
        plain_user, plain_password: whom Kafka knows by the mechanism PLAIN.

    Attributes:
        authority: signed the servers' certificates, and may sign clients'.
        certified: host:port where Kafka asks for a certificate, and for no password.
    """

    def __init__(self, folder: Path, plain_user: str, plain_password: str) -> None:
        self._folder: Final = folder
        self.authority: Final = Authority(folder / "authority")
        self._admin: Final = self.authority.issue("admin")
        trusted, server = self.authority.file, self.authority.issue("server")
        ours = plan.draw(1, free_port(), free_port())
        self._node = SecureNode(ours, 1, folder / "cassandra", server, trusted, asks=False)
        ports = free_port(), free_port()
        self._broker: Final = SecureBroker(
            ours, folder / "kafka", server, trusted, *ports, plain_user, plain_password
        )
        self.certified: Final = f"{HOST}:{self._broker.certified_port}"

    def configuration(self, **changes: Any) -> Configuration:
        """Settings that trust the servers; `changes` say who asks, by dotted path with __."""
        addresses = Addresses(
            (HOST,), self._node.port, cassandra.DATA_CENTER, f"{HOST}:{self._broker.port}"
        )
        trust = {
            f"{section}__tls__{name}": value
            for section in ("archive__cassandra", "queue__kafka")
            for name, value in (("enabled", True), ("authority", str(self.authority.file)))
        }
        return configuration(addresses, **{**trust, **changes})

    def start(self) -> None:
        """Start both; returns when they serve."""
        self._launch(self._node)
        self._launch(self._broker)
        self._wait(self._broker, self._broker.answers)
        self._wait(self._node, self._lets_superuser_in)

    def restart_cassandra(self, server: Certificate, *, asks: bool) -> None:
        """Start Cassandra again, as another `server`; it may ask for certificates."""
        self._end(self._node.name)
        self._node = replace(self._node, server=server, asks=asks)
        self._launch(self._node)
        self._wait(self._node, self._lets_superuser_in)

    def stop(self) -> None:
        """End both."""
        self._end(*process.running(self._folder))

    def cql(self, statement: str) -> None:
        """Run a statement as the superuser."""
        with self._superuser() as session:
            session.execute(statement)

    def set_kafka_user(self, name: str, password: str) -> None:
        """Make a user known by SCRAM-SHA-512, or change the password."""
        admin = AdminClient({"bootstrap.servers": f"{HOST}:{self._broker.internal_port}"})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        user = UserScramCredentialUpsertion(name, info, password.encode())
        for future in admin.alter_user_scram_credentials([user]).values():
            future.result(_START_SECONDS)

    @contextmanager
    def _superuser(self) -> Iterator[Session]:
        tls = ssl.create_default_context(cafile=self.authority.file)
        tls.check_hostname = False
        tls.load_cert_chain(self._admin.file, self._admin.key)
        cluster = Cluster(
            [HOST],
            self._node.port,
            protocol_version=ProtocolVersion.V5,
            auth_provider=PlainTextAuthProvider(_SUPERUSER, _SUPERUSER),
            ssl_context=tls,
        )
        try:
            yield cluster.connect()
        finally:
            cluster.shutdown()

    def _lets_superuser_in(self) -> bool:
        try:
            with self._superuser():
                return True
        except NoHostAvailable:
            return False

    def _launch(self, part: Part) -> None:
        for name in ("tmp", "logs"):
            (part.folder / name).mkdir(parents=True, exist_ok=True)
        part.configure()
        java = find_java()
        if isinstance(part, KafkaBroker):
            jars = fetch_jars(kafka.JARS, kafka.ARTEFACTS, print)
            part.format(java, jars)
        else:
            jars = fetch_jars(cassandra.JARS, cassandra.ARTEFACTS, print)
        command = part.command(java, jars, process.marks(self._folder, part.name))
        process.launch(command, part.folder, part.folder / "logs" / "output.log")

    def _wait(self, part: Part, serves: Callable[[], bool]) -> None:
        def ended() -> bool:
            return part.name not in process.running(self._folder)

        wait_until(lambda: ended() or serves(), _START_SECONDS, f"{part.name} serves")
        assert not ended(), f"{part.name} ended; its logs are in {part.folder}"

    def _end(self, *names: str) -> None:
        running = process.running(self._folder)
        process.end([running[name] for name in names], STOP_SECONDS)


@contextmanager
def secure_servers(folder: Path, plain_user: str, plain_password: str) -> Iterator[SecureServers]:
    """Running servers, stopped at the end."""
    servers = SecureServers(folder, plain_user, plain_password)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()
