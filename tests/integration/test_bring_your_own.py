"""The tutorial docs/encoders.md, run as it stands; what it serves; what is refused on the way."""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from skimage import data

from embark import Client
from embark.models import load_catalogue
from embark.ports import free_port
from export.__main__ import main
from export.encoders.base import Encoder
from export.reference import Reference
from export.serving.bfloat16 import has_bfloat16
from export.sources import open_encoder
from export.sources.options import Options
from export.verification import cosines
from tests.support.stack import computed, wait_until

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "encoders.md"
NAMES = ("bert", "bert-onnx", "colours", "colours-onnx", "outlines", "sentences")
TEXTS = ("held back", "", "word " * 300, "mixed 文字 🙂 ñ", "a b c")
UP = "embark up"

_BLOCK = re.compile(r"^```(python|sh)(?: file=(\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PORT = "8080"


class Workplace:
    """A folder in which the tutorial is followed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.models = folder / "models"
        binaries = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "EMBARK_RETINA__ENVIRONMENT": str(ROOT / ".venv-retina"),
            "EMBARK_GATEWAY__PORT": str(self.port),
            "EMBARK_DATA": str(folder / "data"),
            "EMBARK_RETINA__MODEL_REPOSITORY": str(folder / "models"),
            # Names of folders must not be looked up elsewhere.
            "HF_HUB_OFFLINE": "1",
        }
        blocks = _BLOCK.findall(TUTORIAL.read_text("utf-8").replace(f":{_PORT}", f":{self.port}"))
        self.commands = [text for language, _, text in blocks if language == "sh"]
        self.served_from = next(
            place for place, text in enumerate(self.commands) if text.startswith(UP)
        )
        for language, name, text in blocks:
            if language == "python":
                (folder / name).write_text(text, "utf-8")

    def run(self, command: str) -> str:
        """Run a block; what needs PyTorch runs in this process, which has loaded it already."""
        printed = ""
        for line in command.replace("\\\n", "").splitlines():
            words = shlex.split(line)
            if words[:2] == ["embark", "export"]:
                with redirect_stdout(io.StringIO()) as output:
                    assert main(words[2:]) == 0, line
                printed += output.getvalue()
            elif words[0] == "python":
                with redirect_stdout(io.StringIO()) as output, warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    runpy.run_path(words[1], run_name="__main__")
                printed += output.getvalue()
            else:
                printed += self._run_apart(words)
        return printed

    def _run_apart(self, words: list[str]) -> str:
        ended = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert ended.returncode == 0, f"{words}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def encoder(self, target: str, name: str, **options: object) -> Encoder:
        """Open an encoder of the tutorial in this process."""
        return open_encoder(target, name, Options(**options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """All exports of the tutorial are done."""
    made = Workplace(tmp_path_factory.mktemp("tutorial"))
    with pytest.MonkeyPatch.context() as here:
        here.chdir(made.folder)
        # Not by MonkeyPatch, which would take away what libraries add to the path meanwhile.
        sys.path.insert(0, str(made.folder))
        for command in made.commands[: made.served_from]:
            made.run(command)
        yield made
        sys.path.remove(str(made.folder))


@pytest.fixture(scope="module")
def client(workplace: Workplace) -> Iterator[Client]:
    """What the tutorial serves."""
    log = workplace.folder / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {workplace.commands[workplace.served_from]}"],
            cwd=workplace.folder,
            env=workplace.environment,
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{workplace.port}"

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/v2/health/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(is_ready, 120, "the tutorial's models are served")
        with Client(url) as opened:
            yield opened
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def photographs() -> list[bytes]:
    return [png(Image.fromarray(getattr(data, name)())) for name in ("astronaut", "rocket", "cat")]


def test_every_export_of_the_tutorial_is_in_the_catalogue(workplace: Workplace) -> None:
    assert tuple(load_catalogue(workplace.models)) == NAMES


def test_what_follows_the_tutorials_exports_works(workplace: Workplace, client: Client) -> None:
    for command in workplace.commands[workplace.served_from + 1 :]:
        assert "oov" not in workplace.run(command)


@pytest.mark.parametrize(
    ("name", "target", "options"),
    [
        ("colours", "colours:Colours", {}),
        ("outlines", "outlines:Outlines", {}),
        ("sentences", "./sentences", {}),
        ("bert", "./bert", {"pooling": "mean", "normalise": True}),
    ],
)
def test_served_vectors_are_those_of_pytorch(
    workplace: Workplace, client: Client, name: str, target: str, options: dict[str, object]
) -> None:
    encoder = workplace.encoder(target, name, **options)
    is_text = encoder.modality.value == "text"
    inputs = list(TEXTS) if is_text else photographs()
    payloads = [one.encode() if isinstance(one, str) else one for one in inputs]
    served = computed(client, inputs, name)
    assert served.hits.all()
    expected = Reference(workplace.models, name, encoder).embed(payloads)
    np.testing.assert_allclose(served.embeddings, expected, rtol=1e-3, atol=1e-3)


def test_an_onnx_file_serves_what_its_source_does(workplace: Workplace, client: Client) -> None:
    for inputs, names in ((TEXTS, ("bert", "bert-onnx")), (photographs(), NAMES[2:4])):
        first, second = (computed(client, list(inputs), name).embeddings for name in names)
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3)


def test_a_folder_of_sentence_transformers_gives_its_vectors(workplace: Workplace) -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer("sentences", device="cpu").encode(list(TEXTS))
    encoder = workplace.encoder("./sentences", "sentences")
    found = Reference(workplace.models, "sentences", encoder).embed([t.encode() for t in TEXTS])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_own_preprocessing_refuses_one_input_and_serves_the_others(client: Client) -> None:
    small, large = png(Image.new("RGB", (4, 4))), photographs()[0]
    found = computed(client, [small, large], "outlines")
    assert [item.status for item in found.items] == ["failed", "hit"]
    reason = found.items[0].reason
    assert reason is not None
    assert reason["code"] == "too_small"


def test_what_has_not_changed_is_up_to_date_and_what_has_is_not(workplace: Workplace) -> None:
    command = "embark export outlines:Outlines --name outlines --output models --dry-run --json"
    before = sorted(workplace.models.rglob("*"))
    (plan,) = json.loads(workplace.run(command))
    assert (plan["status"], plan["version"]) == ("up_to_date", 1)
    source = workplace.folder / "prepare.py"
    text = source.read_text()
    source.write_text(text + "# changed\n")
    (plan,) = json.loads(workplace.run(command))
    source.write_text(text)
    assert (plan["status"], plan["version"]) == ("would_export", 2)
    assert sorted(workplace.models.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("colours:Colours --name minilm", "shipped"),
        ("colours:Colours --name my_encoder", "ends in _encoder"),
        ("colours:Colours --name Colours", "cannot be a model's name"),
        ("colours:Colours", "needs a name"),
        ("outlines:Outlines --name colours", "other tensors"),
        ("colours:Missing --name new", "no 'Missing'"),
        ("nowhere:Missing --name new", "cannot be imported"),
        ("./bert --name new", "--pooling"),
        ("colours.onnx --name new", "--modality"),
        ("colours.onnx --name new --modality image", "--mean"),
        ("bert.onnx --name new --modality text", "--tokenizer"),
        ("minilm --pooling cls", "--pooling are for folders"),
        ("colours:Colours --name other --precision bf16 --backend onnxruntime", "--backend python"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    workplace: Workplace, capsys: pytest.CaptureFixture[str], command: str, reason: str
) -> None:
    before = sorted(workplace.models.rglob("*"))
    assert main([*command.split(), "--output", str(workplace.models)]) == 2
    assert reason in capsys.readouterr().err
    assert sorted(workplace.models.rglob("*")) == before


def test_another_precision_is_a_generation_that_is_promoted(
    workplace: Workplace, client: Client
) -> None:
    precision = "bf16" if has_bfloat16() else "int8"
    export = f"embark export colours:Colours --name colours --precision {precision}"
    (facts,) = json.loads(workplace.run(f"{export} --output models --json"))
    assert facts["version"] == 2

    def live() -> str:
        (colours,) = (one for one in client.models() if one["name"] == "colours")
        return str(colours["generation"])

    assert live() != facts["generation"]
    workplace.run("embark models promote colours --force")
    wait_until(lambda: live() == facts["generation"], 60, "it is live")
    served = computed(client, photographs(), "colours")
    assert served.hits.all()
    encoder = workplace.encoder("colours:Colours", "colours")
    expected = Reference(workplace.models, "colours", encoder).embed(photographs())
    assert cosines(served.embeddings, expected).min() >= 0.98
    assert not np.array_equal(served.embeddings, expected.astype(np.float16))
    if precision == "bf16":
        # Another backend would compute it in other arithmetic.
        assert not list((workplace.models / "colours_encoder" / "configs").iterdir())
        again = "colours:Colours --name colours --backend onnxruntime --output models"
        assert main(again.split()) == 2
