"""Keys: which vector an input has under one generation of one model.

key = (model, generation, digest). The digest depends on the input alone, so that a key printed
under an old generation still names its input under the live one.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from embark.errors import BadRequest
from embark.inputs import Input, InputKind

DIGEST_BYTES = 16

_PRINTED = re.compile(r"([a-z0-9][a-z0-9_.-]{0,63}):([0-9a-f]{16}):([0-9a-f]{32})\Z")

# The kind takes part in the hash: the text "http://a/b.png" and that URL are different inputs.
_PERSONALISATION = {kind: f"embark/{kind.value}".encode() for kind in InputKind}


class Key(NamedTuple):
    """The name of one vector in the archive.

    A tuple, since a lookup hashes and compares each of its keys many times.

    Attributes:
        model: public model name.
        generation: 16 hexadecimal characters.
        digest: 16 bytes.
    """

    model: str
    generation: str
    digest: bytes

    def __str__(self) -> str:
        """The printable form, `model:generation:digest`, which clients may send back."""
        return f"{self.model}:{self.generation}:{self.digest.hex()}"


def digest(item: Input) -> bytes:
    """Return the 16-byte digest of an input: BLAKE2b-128 (RFC 7693), personalised by kind.

    A cryptographic hash, because inputs come from strangers and a collision would answer one
    input with another's vector.
    """
    return hashlib.blake2b(
        item.payload, digest_size=DIGEST_BYTES, person=_PERSONALISATION[item.kind]
    ).digest()


def parse_key(printed: str) -> Key:
    """Read a key's printable form.

    Raises:
        BadRequest: not of the form `model:generation:digest`.
    """
    match = _PRINTED.match(printed)
    if match is None:
        raise BadRequest(
            "key must read model:generation:digest, with 16 and 32 hexadecimal characters",
            code="invalid_key",
        )
    return Key(match[1], match[2], bytes.fromhex(match[3]))
