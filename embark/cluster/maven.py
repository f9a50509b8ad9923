"""Jars from Maven, kept in the user's cache: fetched once, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from embark.child import Report
from embark.cluster.lock import locked
from embark.cluster.tool import run_tool
from embark.errors import ConfigurationError

_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_FETCH_SECONDS = 900
_LOCK_SECONDS = _FETCH_SECONDS + 60

_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>embark</groupId>
  <artifactId>{name}</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
{dependencies}  </dependencies>
</project>
"""

_DEPENDENCY = """\
    <dependency>
      <groupId>{group}</groupId>
      <artifactId>{artifact}</artifactId>
      <version>{version}</version>
    </dependency>
"""


@dataclass(frozen=True)
class Artefact:
    """A jar by its Maven coordinates."""

    group: str
    artifact: str
    version: str

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def fetch_jars(name: str, artefacts: Sequence[Artefact], report: Report) -> Path:
    """Return the folder that holds the artefacts and all they depend on; fetch it if missing.

    Args:
        name: of the folder in the cache; one name, one list of artefacts.
        artefacts: what is needed.
        report: told once if they are fetched.

    Raises:
        ConfigurationError: Maven is missing, or failed.
    """
    cache = _cache()
    jars = cache / name
    if jars.is_dir():
        return jars
    with locked(cache / f"{name}.lock", _LOCK_SECONDS, f"fetching {name}", report):
        if not jars.is_dir():
            report(f"{name}: fetching its jars with Maven, once")
            part = cache / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            _copy(artefacts, part)
            (part / "jars").rename(jars)
            shutil.rmtree(part)
    return jars


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(root) if root else Path.home() / ".cache") / "embark"
    cache.mkdir(parents=True, exist_ok=True)
    return cache.resolve()


def _copy(artefacts: Sequence[Artefact], folder: Path) -> None:
    wanted = ", ".join(map(str, artefacts))
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigurationError(
            f"there is no mvn on PATH, which fetches {wanted}; install Apache Maven 3 (package"
            " `maven` on most systems)"
        )
    dependencies = "".join(_DEPENDENCY.format(**asdict(artefact)) for artefact in artefacts)
    pom = _POM.format(name=folder.stem, dependencies=dependencies)
    (folder / "pom.xml").write_text(pom, encoding="utf-8")
    command = [maven, "--batch-mode", "--quiet", "--strict-checksums", "--file", "pom.xml", _COPY]
    command += ["-DincludeScope=runtime", "-DoutputDirectory=jars"]
    what = f"Maven could not fetch {wanted}"
    run_tool(command, folder, _FETCH_SECONDS, what, "is its repository reachable?")
