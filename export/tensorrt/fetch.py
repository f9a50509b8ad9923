"""`python -m export.tensorrt.fetch`: brings TensorRT's libraries from Maven into .cache.

They go with the bindings of the extra `tensorrt`, and are of the same version. 556 MB are fetched,
which become 1 GB.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

from embark.cluster.lock import locked
from embark.cluster.tool import run_tool
from embark.errors import ConfigurationError, EmbArkError
from export.tensorrt.library import FETCHED, load

_ARTEFACT = "org.bytedeco:tensorrt:11.2-1.5.14:jar:linux-x86_64-redist"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
_SECONDS = 1800


def fetch(target: Path = FETCHED) -> Path:
    """Return the folder of the libraries, fetched unless it is there.

    Raises:
        ConfigurationError: Maven is missing, or failed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f"{target.name}.lock")
    with locked(lock, _SECONDS, f"fetching {_ARTEFACT}", _say):
        if not target.is_dir():
            part = target.with_name(f"{target.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            _unpack(_download(part), part / "libraries")
            (part / "libraries").rename(target)
            shutil.rmtree(part)
    return target


def _download(folder: Path) -> Path:
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigurationError(
            "there is no mvn on PATH, which fetches TensorRT's libraries; install Apache Maven 3"
        )
    _say(f"fetching {_ARTEFACT} with Maven, once")
    command = [maven, "--batch-mode", "--quiet", "--strict-checksums", _COPY]
    command += [f"-Dartifact={_ARTEFACT}", "-DoutputDirectory=jars"]
    hint = "is its repository reachable?"
    run_tool(command, folder, _SECONDS, f"Maven could not fetch {_ARTEFACT}", hint)
    (jar,) = (folder / "jars").glob("*.jar")
    return jar


def _unpack(jar: Path, folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(jar) as archive:
        for member in archive.infolist():
            name = Path(member.filename).name
            if name.startswith("libnv") and ".so" in name:
                with archive.open(member) as source, (folder / name).open("wb") as file:
                    shutil.copyfileobj(source, file, 2**20)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main() -> int:
    """Run the command; returns its exit status."""
    try:
        folder = fetch()
        version = load(folder).version
    except EmbArkError as error:
        print(f"fetch: {error.message}", file=sys.stderr)
        return 2
    print(f"{folder} (TensorRT {version})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
