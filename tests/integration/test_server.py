"""The gateway's server against clients that are slow, rude or many; on real sockets."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from embark.client import Client
from embark.errors import ConfigurationError, ServiceError
from gateway.__main__ import main
from tests.support.models import catalogue
from tests.support.process import GatewayProcess, gateway_process
from tests.support.secure import Authority
from tests.support.stack import wait_until

TEXTS = [f"text {number}" for number in range(1000)]
LOOKUP = json.dumps({"model": "words", "items": TEXTS[:3]}).encode()
LARGE = json.dumps({"model": "words", "items": TEXTS}).encode()
# Fewer threads than any test has slow clients, and no shedding, which other tests are about.
FEW = {"gateway__processes": 1, "gateway__threads": 2}


def head(path: str, length: int, *lines: str, method: str = "POST") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *lines]
    return "\r\n".join([*head, "", ""]).encode()


def post(body: bytes, *lines: str) -> bytes:
    return head("/v1/lookup", len(body), *lines) + body


class Answers:
    """The answers that come on a connection, one after another."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()

    def next(self) -> tuple[int, dict[str, str], bytes]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._receive()
        status, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        del self._buffer[: end + 4]
        length = int(headers["Content-Length"])
        while len(self._buffer) < length:
            self._receive()
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return int(status.split(" ")[1]), headers, body

    def _receive(self) -> None:
        data = self._sock.recv(4096)
        assert data, f"closed after {bytes(self._buffer)!r:.200}"
        self._buffer += data


def read_answer(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    return Answers(sock).next()


def ends(sock: socket.socket) -> bytes:
    """What still comes until the server closes."""
    came = bytearray()
    with suppress(ConnectionResetError):
        while data := sock.recv(65536):
            came += data
    return bytes(came)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with gateway_process(folder, *TEXTS, gateway__receive_seconds=60, **FEW) as running:
        yield running


def half_head(sock: socket.socket) -> None:
    sock.sendall(b"POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n")


def half_body(sock: socket.socket) -> None:
    sock.sendall(head("/v1/lookup", len(LARGE)) + LARGE[:1000])


def half_chunk(sock: socket.socket) -> None:
    lines = "POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    sock.sendall(lines.encode() + b"ffff\r\n{")


def ask_and_not_read(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.sendall(post(LARGE) * 2)


def say_nothing(sock: socket.socket) -> None:
    pass


@pytest.mark.parametrize(
    ("begin", "count"),
    [
        (half_head, 500),
        (half_body, 500),
        (half_chunk, 500),
        (say_nothing, 500),
        (ask_and_not_read, 20),
    ],
)
def test_slow_clients_hold_no_thread(
    gateway: GatewayProcess, begin: Callable[[socket.socket], None], count: int
) -> None:
    with ExitStack() as opened:
        slow = [opened.enter_context(gateway.connect()) for _ in range(count)]
        for one in slow:
            begin(one)
        with Client(gateway.url, timeout_s=30, retries=0) as client:
            for _ in range(50):
                assert client.lookup(TEXTS[:5], "words").hits.all()


def test_dripping_clients_are_answered_when_their_request_is_whole(gateway: GatewayProcess) -> None:
    request = post(LOOKUP)
    with ExitStack() as opened:
        slow = [opened.enter_context(gateway.connect()) for _ in range(20)]
        for byte in range(len(request)):
            for one in slow:
                one.sendall(request[byte : byte + 1])
        for one in slow:
            status, _, body = read_answer(one)
            assert status == 200
            assert [item["status"] for item in json.loads(body)["items"]] == ["hit"] * 3


def test_a_slow_reader_gets_all_of_its_answers_in_order(gateway: GatewayProcess) -> None:
    with gateway.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        sock.sendall(post(LARGE) + post(LOOKUP) + post(LARGE))
        answers = Answers(sock)
        for count in (1000, 3, 1000):
            items = json.loads(answers.next()[2])["items"]
            assert [item["status"] for item in items] == ["hit"] * count


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One with little patience, few connections and little memory for them."""
    settings = {
        "gateway__receive_seconds": 1,
        "gateway__max_connections": 20,
        "gateway__max_buffered_bytes": 8 * 2**20,
    }
    folder = tmp_path_factory.mktemp("narrow")
    with gateway_process(folder, *TEXTS, **settings, **FEW) as running:
        yield running


@pytest.mark.parametrize("begin", [half_head, half_body, half_chunk])
def test_a_request_that_does_not_come_in_time_is_answered_408(
    narrow: GatewayProcess, begin: Callable[[socket.socket], None]
) -> None:
    with narrow.connect() as sock:
        begin(sock)
        status, headers, body = read_answer(sock)
        assert (status, headers["Connection"]) == (408, "close")
        assert json.loads(body)["error"]["code"] == "request_timeout"
        assert ends(sock) == b""


def test_silence_and_answers_that_are_not_read_end_the_connection(narrow: GatewayProcess) -> None:
    def late() -> float:
        return narrow.counted("embark_refused_requests_total", reason="late")

    with narrow.connect() as silent:
        assert ends(silent) == b""
    before = late()
    with narrow.connect() as unread:
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.sendall(post(LARGE) * 8)
        wait_until(lambda: late() > before, 60, "it is given up")


def test_connections_beyond_the_limit_make_room_for_new_ones(narrow: GatewayProcess) -> None:
    with ExitStack() as opened:
        for _ in range(100):
            half_head(opened.enter_context(narrow.connect()))
        with Client(narrow.url, retries=0) as client:
            assert client.lookup(TEXTS[:3], "words").hits.all()
        assert narrow.counted("embark_http_connections") <= 20


def test_half_sent_bodies_are_bounded_in_memory_and_small_requests_pass(
    narrow: GatewayProcess,
) -> None:
    gateway = narrow
    with ExitStack() as opened:
        (worker,) = gateway.workers()
        before = worker.memory_info().rss
        cut = 0
        for _ in range(20):
            sock = opened.enter_context(gateway.connect())
            try:
                sock.sendall(head("/v1/lookup", 30 * 2**20) + b" " * (4 * 2**20))
            except OSError:
                cut += 1
            with Client(gateway.url, retries=0) as client:
                assert client.lookup(TEXTS[:3], "words").hits.all()
        # Twenty times 4 MiB were sent; 8 MiB may be held, and as much may be in passing.
        assert worker.memory_info().rss - before < 40 * 2**20
        assert cut or gateway.counted("embark_refused_requests_total", reason="crowded") > 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000, 400),
        (head("/v1/lookup", 41 * 2**20), 413),
        (head("/v1/lookup", 3, "Content-Length: 4") + b"{}", 400),
        (head("/v1/lookup", 3, "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
        (b"POST /v1/lookup HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST /v1/lookup HTTP/1.1\r\nTransfer-Encoding: magic\r\n\r\n", 400),
        (b"POST /v1/lookup HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", 400),
        (b"POST /v1/lookup HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
        (b"POST /v1/lookup HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (b"POST /v1/lookup HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v1/lookup HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nExpect: magic\r\n\r\n", 417),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(
    gateway: GatewayProcess, sent: bytes, status: int
) -> None:
    with gateway.connect() as sock:
        sock.sendall(sent)
        found, headers, body = read_answer(sock)
        assert (found, headers["Connection"]) == (status, "close")
        assert json.loads(body)["error"]["code"]
        assert ends(sock) == b""


def test_chunks_tiny_and_many_are_refused_before_they_are_work(gateway: GatewayProcess) -> None:
    with gateway.connect() as sock:
        sock.sendall(b"POST /v1/lookup HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(OSError):
            sock.sendall(b"1\r\n \r\n" * 5000)
        assert read_answer(sock)[0] == 400


def test_a_body_may_come_in_chunks_with_extensions_and_trailers(gateway: GatewayProcess) -> None:
    lines = "POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x;a=b\r\n%b\r\n" % (1, LOOKUP[at : at + 1]) for at in range(len(LOOKUP)))
    with gateway.connect() as sock:
        for _ in range(2):
            sock.sendall(lines.encode() + chunks + b"0\r\nX-Sum: 1\r\n\r\n")
            status, _, body = read_answer(sock)
            assert (status, len(json.loads(body)["items"])) == (200, 3)


def test_a_client_that_asks_first_is_told_to_go_on(gateway: GatewayProcess) -> None:
    with gateway.connect() as sock:
        sock.sendall(head("/v1/lookup", len(LOOKUP), "Expect: 100-continue"))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(LOOKUP)
        assert read_answer(sock)[0] == 200


def test_a_client_that_asks_first_and_does_not_wait_is_answered(gateway: GatewayProcess) -> None:
    with gateway.connect() as sock:
        sock.sendall(post(LOOKUP, "Expect: 100-continue"))
        answers = Answers(sock)
        found = answers.next()[0]
        assert (answers.next()[0] if found == 100 else found) == 200


def test_requests_that_unpack_to_very_much_do_not_hold_it_while_they_wait(tmp_path: Path) -> None:
    # Ten thousand times what is sent, and each waits for a vector that nobody computes.
    unpacked = b'{"model":"words","input":"new","x":[' + b"[]," * 2_000_000 + b"[]]}"
    packed = gzip.compress(unpacked, 1)
    request = head("/v1/embeddings", len(packed), "Content-Encoding: gzip") + packed
    some = {**FEW, "gateway__threads": 16}
    with gateway_process(tmp_path, **some) as gateway:
        (worker,) = gateway.workers()
        before = worker.memory_info().rss
        with ExitStack() as stack:
            socks = [stack.enter_context(gateway.connect()) for _ in range(6)]
            for sock in socks:
                sock.sendall(request)
            wait_until(lambda: _queued(gateway) == 1, 60, "one is parsed and waits")
            peak = 0
            for _ in range(40):
                peak = max(peak, worker.memory_info().rss - before)
                time.sleep(0.1)
    # One at a time is parsed, to thirty times its text.
    assert peak < 2.5 * 30 * len(unpacked)


def test_a_connection_goes_on_after_a_refusal(gateway: GatewayProcess) -> None:
    foreign = "Origin: http://evil.example"
    with gateway.connect() as sock:
        # The head alone is refused; what follows of its body is no request.
        sock.sendall(head("/v1/lookup", len(LOOKUP), foreign))
        assert read_answer(sock)[0] == 403
        sock.sendall(LOOKUP + post(LOOKUP))
        assert read_answer(sock)[0] == 200
        sock.sendall((post(LOOKUP, foreign) + post(LOOKUP)) * 100)
        answers = Answers(sock)
        assert [answers.next()[0] for _ in range(200)] == [403, 200] * 100


def test_answers_without_a_body_and_old_clients(gateway: GatewayProcess) -> None:
    with gateway.connect() as sock:
        sock.sendall(head("/v2/health/live", 0, method="HEAD"))
        came = sock.recv(65536)
        assert came.startswith(b"HTTP/1.1 200") and came.endswith(b"\r\n\r\n")
        sock.sendall(head("/v2/health/live", 0, method="GET"))
        assert read_answer(sock)[0] == 200
    with gateway.connect() as sock:
        sock.sendall(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
        assert ends(sock).startswith(b"HTTP/1.0 200")


def test_what_has_come_is_answered_before_the_process_ends(tmp_path: Path) -> None:
    waiting = {"model": "words", "items": ["new"], "on_miss": "wait", "wait_ms": 8000}
    body = json.dumps(waiting).encode()
    with gateway_process(tmp_path, **FEW) as gateway:
        with gateway.connect() as sock, gateway.connect() as idle:
            sock.sendall(post(body))
            wait_until(lambda: _queued(gateway) == 1, 60, "it waits")
            stopping = threading.Thread(target=gateway.stop)
            stopping.start()
            status, headers, answer = read_answer(sock)
            assert (status, headers["Connection"]) == (200, "close")
            assert json.loads(answer)["items"][0]["status"] == "oov"
            assert ends(idle) == b""
            stopping.join()
        assert gateway.process is not None and gateway.process.returncode == 0


def _queued(gateway: GatewayProcess) -> int:
    health = httpx.get(f"{gateway.url}/v2/health/ready").json()
    depth: int = health["dependencies"]["queue"]["lanes"]["interactive"]["depth"]
    return depth


def test_a_worker_that_dies_is_replaced(narrow: GatewayProcess) -> None:
    (worker,) = narrow.workers()
    worker.kill()
    with Client(narrow.url, retries=8) as client:
        assert client.lookup(TEXTS[:3], "words").hits.all()
    assert narrow.workers() != [worker]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "made")


def issued(authority: Authority, folder: Path, name: str) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    certificate = authority.issue(name)
    files = folder / "tls.crt", folder / "tls.key"
    files[0].write_bytes(certificate.file.read_bytes())
    files[1].write_bytes(certificate.key.read_bytes())
    return files


def serial(gateway: GatewayProcess, authority: Authority) -> str:
    context = ssl.create_default_context(cafile=authority.file)
    with gateway.connect() as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
        found = tls.getpeercert()
        assert found is not None
        return str(found["serialNumber"])


@pytest.fixture(scope="module")
def secure(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("secure")
    files = issued(authority, folder / "tls", "first")
    settings = {"gateway__tls__certificate": files[0], "gateway__tls__key": files[1], **FEW}
    with gateway_process(folder, *TEXTS, gateway__receive_seconds=2, **settings) as running:
        yield running


def test_tls_is_spoken_to_those_who_trust_the_authority(
    secure: GatewayProcess, authority: Authority
) -> None:
    with Client(secure.url, authority=authority.file, retries=0) as client:
        assert client.lookup(TEXTS, "words").hits.all()
    with Client(secure.url, retries=0) as client, pytest.raises(ServiceError):
        client.models()
    with secure.connect() as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        ends(plain)
    with secure.connect() as silent:
        assert ends(silent) == b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_versions_beside_clients_that_never_finish_a_handshake(
    secure: GatewayProcess, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cafile=authority.file)
    context.minimum_version = context.maximum_version = version
    with ExitStack() as opened:
        for _ in range(500):
            opened.enter_context(secure.connect()).sendall(b"\x16\x03\x01\x02\x00\x01")
        plain = opened.enter_context(secure.connect())
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            request = post(LARGE) + post(LOOKUP)
            for at in range(0, len(request), 5000):
                tls.sendall(request[at : at + 5000])
            answers = Answers(tls)
            assert [len(json.loads(answers.next()[2])["items"]) for _ in range(2)] == [1000, 3]


def test_a_client_of_an_old_tls_is_refused(secure: GatewayProcess) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with secure.connect() as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)


def test_a_renewed_certificate_is_taken_up_and_half_a_one_is_not(
    secure: GatewayProcess, authority: Authority, tmp_path: Path
) -> None:
    tls = secure.settings.gateway.tls
    assert tls.certificate is not None and tls.key is not None
    first = serial(secure, authority)
    other = issued(authority, tmp_path / "other", "second")
    tls.certificate.write_bytes(other[0].read_bytes())
    wait_until(lambda: _unread(secure), 60, "it is noticed that it does not fit the key")
    assert serial(secure, authority) == first
    tls.key.write_bytes(other[1].read_bytes())
    wait_until(lambda: serial(secure, authority) != first, 60, "it is taken up")


def _unread(gateway: GatewayProcess) -> bool:
    return any(line["event"] == "certificate_not_read" for line in gateway.said())


def test_a_gateway_that_would_be_open_to_all_does_not_start(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, gateway__host="0.0.0.0")
    with pytest.raises(AssertionError, match="embark keys add"):
        gateway.start()
    assert gateway.stop() == 2


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"KEYS_FILE": "missing.json"}, "embark keys add"),
        ({"TLS__CERTIFICATE": "missing.crt", "TLS__KEY": "missing.key"}, "no certificate"),
        ({"TLS__KEY": "missing.key"}, "go together"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_starts(
    tmp_path: Path,
    settings: dict[str, str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    catalogue(tmp_path / "models")
    monkeypatch.setenv("EMBARK_RETINA__MODEL_REPOSITORY", str(tmp_path / "models"))
    for name, value in settings.items():
        monkeypatch.setenv(f"EMBARK_GATEWAY__{name}", value)
    assert main() == 2
    assert reason in capsys.readouterr().err


def test_only_a_key_in_full_makes_a_client() -> None:
    with pytest.raises(ConfigurationError):
        Client(api_key="ek_é")
    with pytest.raises(ConfigurationError):
        Client(api_key="a\r\nX: y")
