"""The gateway's certificate: TLS 1.2 and later, taken up again when its files are renewed."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from embark.errors import ConfigurationError
from embark.log import logger
from gateway.rereading import Rereading

_log = logger(__name__)


class Certificate:
    """A certificate and its key, in files.

    Args:
        certificate: with its chain, PEM.
        key: PEM.

    Attributes:
        context: for the connections; new ones get what was last taken up.

    Raises:
        ConfigurationError: the files are no certificate with its key.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files: Final = (certificate, key)
        self._reading: Final = Rereading("certificate", self._files, self._read)
        self.context: Final = self._load()

    def follow(self) -> None:
        """Take the files up again if they have changed; if they are no good, what was stays."""
        self._reading.follow()

    def _read(self) -> None:
        self._load()  # apart first: what is half-written must not get in
        self.context.load_cert_chain(*self._files)
        _log.info("certificate_read")

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["http/1.1"])
        try:
            # A key with a passphrase would ask for it on the terminal.
            context.load_cert_chain(*self._files, password=b"")
        except OSError as error:
            certificate, key = self._files
            raise ConfigurationError(
                f"{certificate} and {key} are no certificate with its key: {error}"
            ) from None
        return context
