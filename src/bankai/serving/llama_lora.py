"""A patch on a running llama-cpp-python whose weights its file does not reach: without mmap, or on a GPU.

There the bits cannot be changed from outside, so the patch goes on as the GGUF LoRA that `bankai export --to gguf-lora`
writes, through llama.cpp's public functions. With the weights in memory that mmap shares, `bankai swap` is the
better way: it costs nothing at run time, and is exact.

The adapter is packed like its base, so its drift from the true patch on the CPU is none for whole rows (bit-identical
logits) and that of float32 sums in another order for groups and single bits (below 1e-6 of a logit where measured).
Not run on a GPU. An adapter costs the work of its rank in every product.

Importing this module needs llama-cpp-python, not torch.
"""

import ctypes
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import llama_cpp
from llama_cpp import Llama

from bankai.errors import ModelFormatError, StateError, UnsupportedModelError

__all__ = ["LlamaAdapter"]

_ON = "bankai_adapter_on"  # attribute of a Llama: the adapter that is on


class LlamaAdapter:
    """A GGUF LoRA loaded beside a model, off at first: on inside ``with adapter:``, as often as wanted.

    One at a time is on: two LoRAs add up, while two patches cancel where they meet; compose patches (`bankai
    compose`) and export the result instead. Going on and off makes ``llama`` forget its KV cache, which is of
    another model. Raises ModelFormatError for a file that is not there, UnsupportedModelError when llama.cpp does not
    take it on this model.
    """

    def __init__(self, llama: Llama, path: str | Path) -> None:
        if not Path(path).is_file():
            raise ModelFormatError(f"{path} is not a file; write it with bankai export --to gguf-lora")
        self._llama = llama
        self._adapter = llama_cpp.llama_adapter_lora_init(llama.model, os.fsencode(path))
        if not self._adapter:
            raise UnsupportedModelError(
                f"llama.cpp does not take {path} on this model; export it for this base"
            )

    def __enter__(self) -> Self:
        llama = self._llama
        if self._adapter is None:
            raise StateError("the adapter was closed; load it again")
        if llama.lora_path or getattr(llama, _ON, None) is not None:
            raise StateError("an adapter is on already; take it off first, or compose the patches into one")
        if llama.cache is not None:
            raise StateError("the model's prompt cache would mix two models; remove it with set_cache(None)")
        self._set([self._adapter])
        setattr(llama, _ON, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._set([])
        setattr(self._llama, _ON, None)

    def close(self) -> None:
        """Free the adapter's memory; nothing happens the second time. Raises StateError while it is on."""
        if getattr(self._llama, _ON, None) is self:
            raise StateError("the adapter is on; leave its block first")
        if (
            self._adapter is not None and self._llama.model is not None
        ):  # a closed model has freed its adapters
            llama_cpp.llama_adapter_lora_free(self._adapter)
        self._adapter = None

    def _set(self, adapters: list[Any]) -> None:
        """Make these the adapters of the context."""
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * len(adapters))(*adapters)
        scales = (ctypes.c_float * len(adapters))(*[1.0] * len(adapters))
        if llama_cpp.llama_set_adapters_lora(self._llama.ctx, pointers, len(adapters), scales):
            raise UnsupportedModelError("llama.cpp does not put the adapter on; export it for this base")
        self._llama.reset()  # type: ignore[no-untyped-call, unused-ignore]
