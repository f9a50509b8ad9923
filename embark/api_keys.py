"""API keys: how a secret is made, and the file that keeps their hashes.

A secret reads `ek_<id>_<43 characters>`. The id is public and finds the key; the characters are 256
random bits, which nobody guesses however fast the hash is, so the file holds plain SHA-256 of the
secret. Not for deciding who may do what: that is `gateway.access`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from embark.errors import ConfigurationError
from embark.syncing import sync

_SECRET: Final = re.compile(r"ek_([0-9a-f]{12})_[\w-]{43}", re.ASCII)
_MAX_FILE_BYTES: Final = 16 * 2**20


class Scope(str, Enum):
    """What a key may be used for."""

    READ = "read"
    ENQUEUE = "enqueue"
    ADMIN = "admin"


class ApiKey(BaseModel):
    """One key as the file keeps it; while a key is rotated, two have the same name.

    Attributes:
        name: who it was given to.
        id: the public part of its secret.
        sha256: of the whole secret, hexadecimal.
        scopes: what it may do.
        created: when it was made.
        expires: from when on it is refused, None for never.
        requests_per_second: of its name, in one gateway; None for the setting's.
        concurrent: its requests at once, likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: frozenset[Scope] = Field(min_length=1)
    created: AwareDatetime
    expires: AwareDatetime | None = None
    requests_per_second: float | None = Field(None, gt=0)
    concurrent: int | None = Field(None, ge=1)

    def opens(self, secret: str) -> bool:
        """Whether this is the key's secret; takes as long for any other."""
        given = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        return hmac.compare_digest(given, self.sha256)

    def is_over(self, now: datetime) -> bool:
        """Whether it has expired."""
        return self.expires is not None and self.expires <= now


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: tuple[ApiKey, ...]

    @model_validator(mode="after")
    def _ids_differ(self) -> _File:
        ids = [key.id for key in self.keys]
        if len(set(ids)) < len(ids):
            raise ValueError("two keys have the same id")
        return self


def new_key(
    name: str,
    scopes: Iterable[Scope],
    *,
    expires: datetime | None = None,
    requests_per_second: float | None = None,
    concurrent: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; return it and its secret, which cannot be had again.

    Raises:
        ConfigurationError: the name or a limit is not valid.
    """
    identity = secrets.token_hex(6)
    secret = f"ek_{identity}_{secrets.token_urlsafe(32)}"
    try:
        key = ApiKey(
            name=name,
            id=identity,
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
            scopes=frozenset(scopes),
            created=datetime.now(timezone.utc).replace(microsecond=0),
            expires=expires,
            requests_per_second=requests_per_second,
            concurrent=concurrent,
        )
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from None
    return key, secret


def secret_id(secret: str) -> str | None:
    """Return the id of the key that a secret claims to be of, None if it is no secret."""
    found = _SECRET.fullmatch(secret)
    return found[1] if found else None


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Return the keys of a file.

    Raises:
        ConfigurationError: it cannot be read, or is not a file of keys.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES)
        return _File.model_validate_json(text).keys
    except OSError as error:
        raise ConfigurationError(
            f"the keys' file {path} cannot be read: {error.strerror}; `embark keys add` makes one"
        ) from None
    except ValidationError as error:
        raise ConfigurationError(f"{path} is not a file of keys: {_explain(error)}") from None


def write_keys(path: Path, keys: Iterable[ApiKey]) -> None:
    """Put keys in place of those in a file, at once; a new file is its owner's only.

    Raises:
        ConfigurationError: it cannot be written.
    """
    told = [key.model_dump(mode="json", exclude_none=True) for key in keys]
    for one in told:
        one["scopes"].sort()
    text = json.dumps({"keys": told}, indent=1) + "\n"
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        before = path.stat() if path.exists() else None
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            if before is not None:
                # Who could read it before can, whoever writes it now.
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), before.st_mode & 0o777)
            os.fsync(file.fileno())
        fresh.replace(path)
        sync(path.absolute().parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Keep other commands from changing the same file meanwhile.

    Raises:
        ConfigurationError: its folder does not exist.
    """
    try:
        folder = os.open(path.absolute().parent, os.O_RDONLY)
    except OSError as error:
        raise ConfigurationError(f"{path.parent} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _explain(error: ValidationError) -> str:
    # Values are left out: a secret pasted in the wrong place is not to be printed.
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]
