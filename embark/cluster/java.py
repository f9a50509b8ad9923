"""The Java that runs the servers: which one, and the flags that all of them take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from embark.errors import ConfigurationError

# Cassandra 5.0 runs on 11 and 17, Kafka 4.1 on 17 and later.
_VERSION = 17
_VERSION_LINE = re.compile(r'version "(?:1\.)?(\d+)')
_ASK_SECONDS = 30


def find_java() -> Path:
    """Return the `java` of `JAVA_HOME`, else the one on the path, whichever first is Java 17.

    Raises:
        ConfigurationError: neither is.
    """
    found = []
    for source, java in _candidates():
        version = _version(java)
        if version == _VERSION:
            return java
        found.append(f"{source} has {java}, {f'Java {version}' if version else 'which fails'}")
    raise ConfigurationError(
        f"Cassandra and Kafka need Java {_VERSION}: {'; '.join(found) or 'no java was found'}."
        f" Install a Java {_VERSION} runtime and set JAVA_HOME to it"
    )


def common_flags(folder: Path, heap_megabytes: int) -> list[str]:
    """Return the flags of a server that is started in `folder`, which has `tmp` and `logs`."""
    return [
        "-Xms128m",
        f"-Xmx{heap_megabytes}m",
        "-XX:+UseG1GC",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:ErrorFile=logs/hs_err.log",
        # Else each killed process leaves a file in the machine's temporary folder.
        "-XX:+PerfDisableSharedMem",
        # Native libraries are unpacked here and loaded by this name, which must be absolute.
        f"-Djava.io.tmpdir={folder / 'tmp'}",
        "-Djava.awt.headless=true",
        "-Djava.net.preferIPv4Stack=true",
        "-Dfile.encoding=UTF-8",
    ]


def _candidates() -> list[tuple[str, Path]]:
    candidates = []
    if home := os.environ.get("JAVA_HOME"):
        candidates.append(("JAVA_HOME", Path(home) / "bin" / "java"))
    if on_path := shutil.which("java"):
        candidates.append(("PATH", Path(on_path)))
    return candidates


def _version(java: Path) -> int | None:
    try:
        asked = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=_ASK_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION_LINE.search(asked.stderr)
    return int(match.group(1)) if match else None
