"""`embark keys`, and the gateway that reads what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embark.cli import main
from gateway.access.keyring import Keyring


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBARK_GATEWAY__KEYS_FILE", "keys.json")
    return tmp_path / "keys.json"


def keys(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    capsys.readouterr()
    assert main(["keys", *arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_a_secret_is_printed_once_and_opens(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = keys(capsys, "add", "ranking", "--scope", "enqueue", "--scope", "read", "--days", "2")
    assert made["scopes"] == ["read", "enqueue"]
    found = Keyring(path).find(made["secret"])
    assert found is not None and found.name == "ranking"
    assert made["secret"] not in path.read_text()
    assert main(["keys", "list"]) == 0
    shown = capsys.readouterr().out
    assert "ranking" in shown and "read, enqueue" in shown
    assert made["secret"][16:] not in shown
    assert main(["keys", "add", "other", "--scope", "admin"]) == 0
    assert Keyring(path).find(capsys.readouterr().out.strip()) is not None


def test_rotation_keeps_the_old_secret_for_a_while(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = keys(capsys, "add", "a", "--scope", "read", "--concurrent", "3")
    new = keys(capsys, "rotate", "a")
    assert (new["scopes"], new["concurrent"]) == (["read"], 3)
    both = Keyring(path)
    assert both.find(old["secret"]) is not None
    assert both.find(new["secret"]) is not None
    newest = keys(capsys, "rotate", "a", "--keep-hours", "0")
    last = Keyring(path)
    assert [last.find(one["secret"]) is not None for one in (old, new, newest)] == [
        False,
        False,
        True,
    ]
    # What is over is dropped from the file.
    assert len(keys(capsys, "list")["keys"]) == 1 + 0


def test_revoking_leaves_the_others(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = keys(capsys, "add", "a", "--scope", "read")
    second = keys(capsys, "add", "b", "--scope", "read")
    keys(capsys, "rotate", "a")
    assert keys(capsys, "revoke", "a") == {"revoked": 2}
    left = Keyring(path)
    assert left.find(first["secret"]) is None
    assert left.find(second["secret"]) is not None


def test_wrong_usage_says_what_to_do(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "embark keys add" in keys(capsys, "list", status=2)["error"]["message"]
    keys(capsys, "add", "a", "--scope", "read")
    assert "rotate" in keys(capsys, "add", "a", "--scope", "read", status=2)["error"]["message"]
    assert "'b'" in keys(capsys, "revoke", "b", status=2)["error"]["message"]
    assert "'b'" in keys(capsys, "rotate", "b", status=2)["error"]["message"]
    assert "name" in keys(capsys, "add", "a b", "--scope", "read", status=2)["error"]["message"]
    low = ("add", "c", "--scope", "read", "--concurrent", "0")
    assert "concurrent" in keys(capsys, *low, status=2)["error"]["message"]
    monkeypatch.delenv("EMBARK_GATEWAY__KEYS_FILE")
    assert "gateway.keys_file" in keys(capsys, "list", status=2)["error"]["message"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--days", value) for value in ("0", "-1", "nan", "inf", "1e9", "soon")),
        *(("--requests-per-second", value) for value in ("nan", "inf", "many")),
    ],
)
def test_a_number_that_no_key_can_have_is_refused(
    path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["keys", "add", "a", "--scope", "read", f"{option}={value}"])
    assert ended.value.code == 2
    assert option in capsys.readouterr().err
    assert not path.exists()


def test_doctor_tells_of_a_gateway_that_would_be_open_to_all(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBARK_GATEWAY__HOST", "0.0.0.0")
    assert _access(capsys)["state"] == "error"
    keys(capsys, "add", "a", "--scope", "read")
    assert _access(capsys)["state"] == "ok"
    monkeypatch.delenv("EMBARK_GATEWAY__KEYS_FILE")
    assert "not loopback" in _access(capsys)["detail"]
    monkeypatch.delenv("EMBARK_GATEWAY__HOST")
    assert _access(capsys)["state"] == "ok"


def _access(capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    main(["doctor", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    return next(check for check in checks if check["name"] == "access")
