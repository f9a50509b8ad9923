"""From a PyTorch module to an ONNX graph, and a module's own vectors to compare with.

Not for precision (`export.precision`) and not for comparing (`export.verification`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embark.errors import ConfigurationError, EmbArkError
from export.encoders.base import Encoder, ImagePreprocessing, Weights
from export.serving.invalid_input import InvalidInput
from export.verification import cosines

if TYPE_CHECKING:
    import torch

OPSET = 18
_FEWEST_SAMPLES = 3
# What the archive's type may cost: numbers in its range lose far less.
_STORED_COSINE = 0.9999


def load_module(encoder: Encoder, weights: Weights) -> torch.nn.Module:
    """Return the encoder's module with its weights and normalisation, in evaluation mode.

    Raises:
        ConfigurationError: names or shapes differ from the module's.
    """
    module = encoder.module()
    try:
        module.load_state_dict(weights.state)
    except RuntimeError as error:
        raise ConfigurationError(
            f"{encoder.name}: the weights ({weights.origin}) are not of this module: {error}"
        ) from None
    return with_normalisation(encoder, module).eval()


def with_normalisation(encoder: Encoder, module: torch.nn.Module) -> torch.nn.Module:
    """Return a module that takes the encoder's tensors, whether or not `module` does."""
    preprocessing = encoder.preprocessing
    if not isinstance(preprocessing, ImagePreprocessing):
        return module
    if preprocessing.mean is None or preprocessing.std is None:
        return module
    from export.encoders.normalised import Normalised

    return Normalised(module, preprocessing.mean, preprocessing.std)


def samples_of(encoder: Encoder) -> list[bytes]:
    """Return the inputs to verify with: the encoder's own, or the usual ones that it takes.

    Raises:
        ConfigurationError: they are not bytes, or too few are taken.
    """
    return _taken(encoder, "samples", own=type(encoder).samples is not Encoder.samples)


def calibration_of(encoder: Encoder) -> list[bytes]:
    """Return the inputs to find ranges with, as `samples_of`."""
    return _taken(encoder, "calibration", own=type(encoder).calibration is not Encoder.calibration)


def _taken(encoder: Encoder, method: str, *, own: bool) -> list[bytes]:
    payloads: list[bytes] = getattr(encoder, method)()
    wrong = next((one for one in payloads if not isinstance(one, bytes)), None)
    if wrong is not None:
        raise ConfigurationError(
            f"{encoder.name}: {method}() has a {type(wrong).__name__}; it returns bytes, UTF-8"
            " texts or encoded images"
        )
    taken = payloads if own else [one for one in payloads if not _is_refused(encoder, one)]
    if len(taken) < _FEWEST_SAMPLES:
        raise ConfigurationError(
            f"{encoder.name}: {method}() has {len(taken)} inputs that the preprocessing takes; give"
            f" at least {_FEWEST_SAMPLES}"
        )
    return taken


def _is_refused(encoder: Encoder, payload: bytes) -> bool:
    try:
        encoder.preparer.prepare(payload)
    except InvalidInput:
        return True
    except Exception:
        return False  # told with its number and its traceback when it is prepared
    return False


def prepare(encoder: Encoder, payloads: Sequence[bytes]) -> list[Any]:
    """Return the prepared inputs of an encoder's own samples.

    Raises:
        ConfigurationError: the preprocessing refuses one, or fails.
    """
    prepared = []
    for number, payload in enumerate(payloads):
        try:
            prepared.append(encoder.preparer.prepare(payload))
        except InvalidInput as error:
            raise ConfigurationError(
                f"{encoder.name}: the preprocessing refuses sample {number} ({error.code}:"
                f" {error}); give samples() that it takes"
            ) from error
        except Exception as error:
            raise ConfigurationError(
                f"{encoder.name}: the preprocessing fails on sample {number}: {error!r}"
            ) from error
    return prepared


def tensors_of(encoder: Encoder, payloads: Sequence[bytes]) -> tuple[torch.Tensor, ...]:
    """Return the tensors of a batch as the module's arguments."""
    import torch

    tensors = encoder.preparer.collate(prepare(encoder, payloads))
    return tuple(torch.from_numpy(tensors[tensor.name]) for tensor in encoder.inputs)


def compile_module(encoder: Encoder, module: torch.nn.Module, path: Path) -> None:
    """Write `module` as one ONNX file with variable batch size and the tensors' names.

    Raises:
        EmbArkError: PyTorch cannot export the module.
    """
    import torch

    payloads = samples_of(encoder)
    # Of one row, the exporter would take the batch for fixed.
    example = tensors_of(encoder, [payloads[0], payloads[-1]])
    shapes = tuple(_variable(tensor.shape) for tensor in encoder.inputs)
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                opset_version=OPSET,
                input_names=[tensor.name for tensor in encoder.inputs],
                output_names=["EMBEDDING"],
                dynamic_shapes=shapes,
                verbose=False,
            )
        except Exception as error:
            raise EmbArkError(
                f"{encoder.name}: PyTorch cannot export the module to ONNX; the batch axis must"
                " stay variable, and shapes must not depend on values",
                code="not_exportable",
            ) from error
        assert program is not None
        program.save(path)


def open_graph(graph: Path) -> Callable[[dict[str, npt.NDArray[Any]]], npt.NDArray[np.float32]]:
    """Return a function that runs an ONNX file in ONNX Runtime: tensors by name to EMBEDDING.

    Raises:
        EmbArkError: ONNX Runtime cannot load it.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EmbArkError(
            f"ONNX Runtime cannot run the compiled encoder: {error}; a module in bfloat16 must be"
            " made float32",
            code="verification_failed",
        ) from None
    names = {tensor.name for tensor in session.get_inputs()}

    def run(tensors: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        feed = {name: array for name, array in tensors.items() if name in names}
        try:
            (found,) = session.run(["EMBEDDING"], feed)
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feed.items())
            raise EmbArkError(
                f"the compiled encoder fails on {shapes}: {error}", code="verification_failed"
            ) from None
        return np.asarray(found)

    return run


def reference_vectors(
    encoder: Encoder, module: torch.nn.Module, prepared: Sequence[Any]
) -> npt.NDArray[np.float32]:
    """Return the module's vectors of prepared inputs, one by one and unpadded, (n, dimension).

    Raises:
        ConfigurationError: the module fails, or what it returns is not what the encoder states.
    """
    import torch

    rows = []
    for one in prepared:
        tensors = encoder.preparer.collate([one], padded=False)
        arguments = [torch.from_numpy(tensors[tensor.name]) for tensor in encoder.inputs]
        try:
            with torch.no_grad():
                vector = module(*arguments)
        except Exception as error:
            shapes = ", ".join(f"{name} {tensors[name].shape}" for name in tensors)
            raise ConfigurationError(
                f"{encoder.name}: the module fails on {shapes}: {error}"
            ) from error
        rows.append(_checked(encoder, vector))
    return np.concatenate(rows)


def embed_one(encoder: Encoder, module: torch.nn.Module, payload: bytes) -> npt.NDArray[np.float32]:
    """Return PyTorch's vector of one input, unpadded, float32 of shape (1, dimension)."""
    return reference_vectors(encoder, module, [encoder.preparer.prepare(payload)])


def _checked(encoder: Encoder, vector: Any) -> npt.NDArray[np.float32]:
    import torch

    if not isinstance(vector, torch.Tensor):
        raise ConfigurationError(
            f"{encoder.name}: the module returns a {type(vector).__name__}; it must return one"
            f" tensor of shape (n, {encoder.dimension})"
        )
    if tuple(vector.shape) != (1, encoder.dimension):
        raise ConfigurationError(
            f"{encoder.name}: for one input the module returns shape {tuple(vector.shape)}; with"
            f" dimension = {encoder.dimension} it must be (1, {encoder.dimension})"
        )
    array = np.asarray(vector.float().numpy(), np.float32)
    with np.errstate(over="ignore"):
        stored = array.astype(encoder.dtype)
    if not np.isfinite(stored).all():
        raise ConfigurationError(
            f"{encoder.name}: a vector has numbers that {encoder.dtype} cannot hold, or none at"
            f" all (largest {np.abs(array).max()}); mend the module, or set dtype = 'float32'"
        )
    if cosines(stored, array).min() < _STORED_COSINE:
        raise ConfigurationError(
            f"{encoder.name}: the numbers of a vector are too small for {encoder.dtype} (largest"
            f" {np.abs(array).max():.1e}); normalise them, or set dtype = 'float32'"
        )
    return array


def _variable(shape: tuple[int, ...]) -> dict[int, Any]:
    import torch

    axes = [0, *(axis for axis, length in enumerate(shape, start=1) if length < 0)]
    return {axis: torch.export.Dim.DYNAMIC for axis in axes}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's notes about its own workings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
