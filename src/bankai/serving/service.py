"""A model opened to be served: engine, catalog and tokenizer together."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import DeviceError
from bankai.model.tokenizer import choose_chat_template, end_tokens, make_tokenizer
from bankai.serving.catalog import Catalog
from bankai.serving.engine import Engine
from bankai.serving.scheduler import Scheduler

__all__ = ["ENGINES", "Service", "open_engine", "open_service"]

ENGINES = Literal["torch", "llama"]
"""What can compute: torch, where requests of different patches share every step, and llama.cpp."""


@dataclass(frozen=True)
class Service:
    """What answers requests to one base."""

    catalog: Catalog
    scheduler: Scheduler
    tokenizer: PreTrainedTokenizerBase


@contextmanager
def open_service(
    source: str,
    *,
    name: str | None = None,
    library: Path | None = None,
    engine: ENGINES = "torch",
    places: int = 16,
    context: int | None = None,
    queue: int = 64,
    chat_template: str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    dense: bool = False,
) -> Iterator[Service]:
    """The model under its name, by default its file's; the file stays open and must stay as it is.

    `chat_template`: the name of the one that chats are rendered by, None for the default; `chat_template_kwargs`: its
    variables where a request does not set them.

    Raises what opening a model, an engine and a library raises.
    """
    with open_checkpoint(source) as checkpoint:
        catalog = Catalog(checkpoint, name or Path(source).stem, library)
        tokenizer = make_tokenizer(checkpoint.tokenizer())
        choose_chat_template(tokenizer, chat_template, chat_template_kwargs)
        computes = open_engine(
            source, engine, places=places, context=context, device=device, dtype=dtype, dense=dense
        )
        scheduler = Scheduler(computes, tokenizer, end_tokens(tokenizer), queue=queue)
        yield Service(catalog, scheduler, tokenizer)


def open_engine(
    source: str,
    engine: ENGINES,
    *,
    places: int = 16,
    context: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    dense: bool = False,
) -> Engine:
    """The engine of that name on a model; `device`, `dtype` and `dense` as `bankai.load` has them.

    Raises DeviceError where they are not for this engine.
    """
    if engine == "llama":
        if (device, dtype, dense) != ("cpu", "float32", False):
            raise DeviceError(
                "--device, --dtype and --dense are for torch; leave them out, or use --engine torch"
            )
        from bankai.serving.engines.llama_engine import LlamaEngine

        return LlamaEngine(source, places=places, context=context)
    from bankai.model import load
    from bankai.serving.engines.torch_engine import TorchEngine

    model, _ = load(source, dense=dense, device=device, dtype=dtype)
    return TorchEngine(model, places=places, context=context)
