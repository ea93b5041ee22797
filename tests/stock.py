"""Stock llama.cpp, through llama-cpp-python: its quantizer and its logits. For tests marked `engines`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

__all__ = ["logits", "requantize"]


def requantize(source: Path, target: Path, name: str) -> Path:
    """Write every matrix of a GGUF file in one quantization, by its ggml name. Returns ``target``."""
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(
        llama_cpp, "LLAMA_FTYPE_ALL_F32" if name == "F32" else f"LLAMA_FTYPE_MOSTLY_{name}"
    )
    params.pure, params.allow_requantize, params.nthread = True, True, 1
    assert llama_cpp.llama_model_quantize(bytes(source), bytes(target), params) == 0
    return target


def logits(path: Path, ids: Sequence[int], *, floats: bool = False) -> np.ndarray:
    """Logits after every token: float32 [tokens, vocabulary]. ``floats``: the KV cache in F32, not in F16."""
    from llama_cpp import GGML_TYPE_F16, GGML_TYPE_F32, Llama

    cache = GGML_TYPE_F32 if floats else GGML_TYPE_F16
    model = Llama(
        str(path), n_ctx=len(ids), n_threads=1, n_threads_batch=1, type_k=cache, type_v=cache,
        logits_all=True, verbose=False,
    )  # fmt: skip
    try:
        model.eval(list(ids))
        return np.array(model.scores[: len(ids)], np.float32)
    finally:
        model.close()
