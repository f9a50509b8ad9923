"""Where the gateway listens: its address for this machine, and whether it may without keys."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

from embark.errors import ConfigurationError
from embark.settings import GatewaySettings

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def gateway_url(settings: GatewaySettings) -> str:
    """Return the gateway's URL, as this machine reaches it."""
    scheme = "http" if settings.tls.certificate is None else "https"
    host = _EVERYWHERE.get(settings.host, settings.host)
    return (
        f"{scheme}://[{host}]:{settings.port}"
        if ":" in host
        else f"{scheme}://{host}:{settings.port}"
    )


def require_safe(settings: GatewaySettings) -> None:
    """Raise ConfigurationError if others than this machine could ask without a key."""
    if settings.keys_file is None and not is_loopback(settings.host):
        raise ConfigurationError(
            f"gateway.host {settings.host!r} is not loopback, and without gateway.keys_file anybody"
            " who reaches it may do everything: make keys with `embark keys add`"
        )


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """Whether a host, as an address or a name, is this machine to itself."""
    bare = host.rstrip(".").lower()
    if bare == "localhost" or bare.endswith(".localhost"):
        return True
    try:
        return ip_address(bare.strip("[]")).is_loopback
    except ValueError:
        return False
