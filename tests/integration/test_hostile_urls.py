"""Hundreds of URLs that mean something inside: none leads to a connection there.

Every URL goes the way of a client's: canonical form first, then the consumer's fetcher, then what
redirects make of it. Numbers that stand for addresses are read by the system's own resolver; names
mean whatever serves the attacker. Connections are counted at the socket, by Python's audit events,
and by listeners at the places that must not be reached.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from consumers.inputs.fetch import Fetcher
from embark.errors import BadRequest, InputFailure
from embark.inputs import image_url_input
from embark.settings import FetchSettings, InputSettings
from tests.support.origin import Origin, answer, origin

PUBLIC = "127.0.0.2"  # stands for the public internet: the one address that may be fetched from
SECRET = b"an internal secret"
INTERNAL = (
    "127.0.0.1",
    "127.8.9.1",
    "10.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "100.100.100.200",
    "0.0.0.0",
)

_HOSTS = """
localhost LOCALHOST localhost. localhost.localdomain ip6-localhost metadata 127.1 127.0.1 0x7f.1
metadata.google.internal kubernetes.default.svc xn--n3h.example xn--0 rebinding.example
mixed.example mixed6.example later.example [::1] [::] [0:0:0:0:0:0:0:1] [::1%lo] [::1%25lo]
[fe80::1%lo] [fe80::1%251] [fc00::1] [fd00:ec2::254] [fec0::1] [ff02::1] [100::1] [2001:db8::1]
[3fff::1] [v1.fe] [:: [::1 ::1 0 0.0 017700000001 224.0.0.1 240.0.0.1 198.18.0.1 192.0.0.170
255.255.255.255 256.256.256.256 -1 \u2460 \u2460\u2461\u2466.\u24ea.\u24ea.\u2460
"""

_watching: list[list[Any]] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _watching:
        _watching[-1].append(arguments[1])


sys.addaudithook(_hear)


def spellings(address: str) -> Iterator[str]:
    """Every way to write an IPv4 address as a URL's host."""
    number = int(IPv4Address(address))
    parts = [int(part) for part in address.split(".")]
    yield address
    yield f"{number}"
    yield f"0x{number:x}"
    yield f"0X{number:X}"
    yield f"0{number:o}"
    yield f"{number + 2**32}"
    yield ".".join(f"0x{part:x}" for part in parts)
    yield ".".join(f"0{part:o}" for part in parts)
    padded = ".".join(f"{part:03d}" for part in parts)
    if all(part > 99 or part < 8 for part in parts):
        yield padded  # else read as octal, it is another address
    yield ".".join(f"0x{part:08x}" for part in parts)
    yield f"{parts[0]}.{number & 0xFFFFFF}"
    yield f"0x{parts[0]:x}.{parts[1]}.{number & 0xFFFF}"
    yield f"{address}."
    yield f"{address}.."
    yield address.replace(".", "%2e")
    yield address.replace(".", "\u3002")
    yield address.replace(".", "\uff0e")
    yield "".join(chr(ord(one) + 0xFEE0) if one.isdigit() else one for one in address)
    yield "".join(chr(0x1D7CE + int(one)) if one.isdigit() else one for one in address)
    yield f"{address}%00.example.com"
    yield f"[{address}]"
    yield f"{address}.nip.io"


def disguises(address: str) -> Iterator[str]:
    """Every way to carry an IPv4 address inside an IPv6 one."""
    number = int(IPv4Address(address))
    high, low = number >> 16, number & 0xFFFF
    plain = f"{high:x}:{low:x}"
    yield f"[::ffff:{address}]"
    yield f"[::ffff:{plain}]"
    yield f"[0:0:0:0:0:FFFF:{plain}]"
    yield f"[::{address}]"
    yield f"[::ffff:0:{address}]"
    yield f"[64:ff9b::{plain}]"
    yield f"[64:ff9b:1::{plain}]"
    yield f"[2002:{plain}::]"
    yield f"[2002:{plain}::1]"
    yield f"[2001:0:{plain}::1]"
    yield f"[{IPv6Address((0x20010000 << 96) | (~number & 0xFFFFFFFF))}]"
    yield f"[fe80::5efe:{address}]"
    yield f"[2a00:1450::5efe:{plain}]"
    yield f"[2a00:1450::200:5efe:{plain}]"


def hosts() -> list[str]:
    found = [host for address in INTERNAL for host in (*spellings(address), *disguises(address))]
    found += _HOSTS.split()
    found.append("a." * 120 + "example")
    found.append("x" * 64 + ".example")
    return found


def urls(port: int) -> list[str]:
    made = [f"http://{host}:{port}/x" for host in hosts()]
    made += [f"https://{host}/latest/meta-data/" for host in hosts()[::7]]
    made += [
        template.format(at=f"127.0.0.1:{port}", port=port)
        for template in (
            "http://example.com@{at}/",
            "http://example.com:80@{at}/",
            "http://{at}@example.com/",
            "http://a@b@{at}/",
            "http://example.com%40{at}/",
            "http://{at}#@example.com/",
            "http://{at}?@example.com/",
            "http://{at}\\@example.com/",
            "http://example.com\\@{at}/",
            "http:\\\\{at}\\x",
            "http:///{at}/",
            "http:/{at}/",
            "http:{at}/",
            "//{at}/",
            "http://{at}:80/",
            "http:// {at}/",
            "http://{at} /",
            "http://\t{at}/",
            "ht\ntp://{at}/",
            "http://{at}/\r\nHost: example.com\r\n\r\n",
            "http://{at}/%0d%0aX:%20y",
            "http://example.com\r\n@{at}/",
            "http://\x00{at}/",
            "http://\u200b{at}/",
            "http://\u00ad{at}/",
            "http://127.0.0.1\uff1a{port}/",
            "http://127.0.0.1:0{port}/",
            "http://127.0.0.1:+{port}/",
            "http://127.0.0.1:{port}a/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:-1/",
            "http://127.0.0.1:/",
            "http://127.0.0.1:22/",
            "http://127.0.0.1:6379/%0d%0aFLUSHALL",
            "http://{at}/" + "a" * 100_000,
        )
    ]
    made += [
        f"{scheme}127.0.0.1:{port}/x"
        for scheme in (
            "file://",
            "file:///etc/passwd?",
            "ftp://",
            "gopher://",
            "dict://",
            "ldap://",
            "ws://",
            "jar:http://",
            "view-source:http://",
            "data:image/png,",
            "javascript:",
            "unix://",
            "http+unix://",
            "netdoc://",
            "HTTP://",
            "hTTps://",
        )
    ]
    return made


class Names:
    """A resolver in the attacker's hands; numbers mean what the system makes of them."""

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}

    def resolve(self, host: str, port: int, **more: Any) -> list[Any]:
        try:
            flags = socket.AI_NUMERICHOST
            return list(socket.getaddrinfo(host, port, flags=flags, **more))
        except (socket.gaierror, UnicodeError):
            pass
        count = self._asked[host] = self._asked.get(host, 0) + 1
        addresses = {
            "public.example": [PUBLIC],
            # Public when it is looked at first, internal from then on.
            "rebinding.example": [PUBLIC if count == 1 else "127.0.0.1"],
            "later.example": [PUBLIC if count <= 2 else "127.0.0.1"],
            "mixed.example": [PUBLIC, "127.0.0.1"],
            "mixed6.example": [PUBLIC, "::1"],
        }.get(host, ["127.0.0.1"])
        return [
            (socket.AF_INET6, 1, 6, "", (one, port, 0, 0))
            if ":" in one
            else (socket.AF_INET, 1, 6, "", (one, port))
            for one in addresses
        ]


_names: list[Names] = []
_FETCHER = Fetcher(
    FetchSettings.model_validate({"allow_networks": [f"{PUBLIC}/32"], "timeout_seconds": 5}),
    InputSettings(),
    resolve=lambda *asked, **more: _names[-1].resolve(*asked, **more),  # noqa: PLW0108
)


class Inside:
    """A listener where nobody may come, and what was connected to."""

    def __init__(self, trap: Origin) -> None:
        self._trap = trap
        self.port = trap.port
        self.connected: list[Any] = []

    def visits(self) -> int:
        return self._trap.connections


@pytest.fixture
def inside() -> Iterator[Inside]:
    with origin(answer(SECRET), host="127.0.0.1") as trap:
        found = Inside(trap)
        _watching.append(found.connected)
        try:
            yield found
        finally:
            _watching.pop()


def fetch(url: str, names: Names) -> bytes | str:
    """Return what a client gets for a URL: bytes, or why not."""
    _names.append(names)
    try:
        return _FETCHER.fetch(image_url_input(url).payload.decode("ascii")).body or b""
    except (BadRequest, InputFailure) as refused:
        return refused.code
    finally:
        _names.pop()


def assert_nothing_inside(inside: Inside, places: set[tuple[str, int]]) -> None:
    assert inside.visits() == 0
    assert {place[:2] for place in inside.connected} <= places


def test_no_url_leads_inside(inside: Inside) -> None:
    asked = urls(inside.port)
    assert len(set(asked)) >= 300
    for url in asked:
        assert isinstance(fetch(url, Names()), str), url
    # The names that are public at first are connected to where they are public, and nowhere else.
    assert_nothing_inside(inside, {(PUBLIC, inside.port), (PUBLIC, 443)})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_leads_inside(inside: Inside, status: int) -> None:
    places: list[str] = []

    def redirect(connection: socket.socket, path: str) -> None:
        target = places[-1].encode("utf-8", "replace").decode("latin-1")
        answer(status=f"{status} Moved", Location=target)(connection, path)

    with origin(redirect, host=PUBLIC) as outside:
        for place in urls(inside.port)[status % 5 :: 5]:
            if "\n" in place or len(place) > 60_000:
                continue  # no header can say it
            places.append(place)
            assert isinstance(fetch(f"{outside.url}/", Names()), str), place
        assert len(places) > 60
        allowed = {(PUBLIC, outside.port), (PUBLIC, inside.port), (PUBLIC, 443), (PUBLIC, 80)}
        assert_nothing_inside(inside, allowed)


@pytest.mark.parametrize(
    "behave",
    [
        answer(b'<meta http-equiv="refresh" content="0; url=http://127.0.0.1/">'),
        answer(b"x", Refresh="0; url=http://127.0.0.1/", Link="<http://127.0.0.1/>; rel=preload"),
        answer(b"x", Content_Location="http://127.0.0.1/", Alt_Svc='http/1.1="127.0.0.1:80"'),
        answer(status="305 Use Proxy", Location="http://127.0.0.1/"),
        answer(status="300 Multiple Choices", Location="http://127.0.0.1/"),
    ],
)
def test_what_only_a_browser_follows_is_not_followed(
    inside: Inside, behave: Callable[[socket.socket, str], None]
) -> None:
    with origin(behave, host=PUBLIC) as outside:
        fetch(f"{outside.url}/", Names())
        assert_nothing_inside(inside, {(PUBLIC, outside.port)})
        assert outside.connections == 1


def test_a_name_that_changes_between_redirects_is_looked_at_each_time(inside: Inside) -> None:
    names = Names()

    def again(connection: socket.socket, path: str) -> None:
        answer(status="302 Found", Location=f"/{len(path)}{path}")(connection, path)

    with origin(again, host=PUBLIC) as outside:
        assert fetch(f"http://later.example:{outside.port}/", names) == "forbidden_address"
        assert outside.connections == 2
        assert_nothing_inside(inside, {(PUBLIC, outside.port)})


def test_what_is_public_is_fetched(inside: Inside) -> None:
    with origin(answer(b"an image"), host=PUBLIC) as outside:
        assert fetch(f"http://public.example:{outside.port}/", Names()) == b"an image"
        assert fetch(f"http://rebinding.example:{outside.port}/", Names()) == b"an image"
        assert_nothing_inside(inside, {(PUBLIC, outside.port)})
