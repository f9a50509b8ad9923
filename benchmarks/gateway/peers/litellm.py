"""The LiteLLM proxy with its cache of single inputs, in front of the same Triton."""

from __future__ import annotations

import json
from collections.abc import Mapping

from benchmarks.gateway.peers.base import OpenAiSubject
from benchmarks.gateway.peers.triton import LITELLM_MODEL, Triton
from benchmarks.gateway.place import Place, answers, environment_of
from benchmarks.gateway.workload import Batch
from embark.ports import free_port

_KEY = "sk-bench"


class LiteLlm(OpenAiSubject):
    """OpenAI's embeddings: texts in, floats in JSON out."""

    def path(self, batch: Batch) -> str:
        return "/v1/embeddings"

    def headers(self) -> Mapping[str, str]:
        return {**super().headers(), "Authorization": f"Bearer {_KEY}"}


def start_litellm(place: Place, triton: Triton) -> LiteLlm:
    """Start it.

    Raises:
        Stopped: its environment cannot be made, or it does not start.
    """
    environment = environment_of("litellm")
    port = free_port()
    api = f"http://127.0.0.1:{triton.http}/v2/models/{LITELLM_MODEL}/infer"
    model = {"model": f"triton/{LITELLM_MODEL}", "api_base": api}
    config = {
        "model_list": [{"model_name": "minilm", "litellm_params": model}],
        "litellm_settings": {
            "cache": True,
            "cache_params": {
                "type": "local",
                "supported_call_types": ["embedding", "aembedding"],
            },
            "telemetry": False,
        },
        "general_settings": {"master_key": _KEY},
    }
    file = place.folder / "litellm.yaml"
    file.write_text(json.dumps(config), "utf-8")  # JSON is YAML
    argv = [str(environment / "bin" / "litellm"), "--config", str(file)]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1", "LITELLM_LOG": "ERROR"}
    ready = answers(f"http://127.0.0.1:{port}/health/liveliness")
    place.serve("litellm", argv, ready, offline)
    return LiteLlm("LiteLLM's proxy, its cache", port)
