"""A model from GGUF to MLX or back: weights and norms bit for bit, settings and tokenizer.

What the other format has no place for (a model card's text, a licence key) is left behind. This module only
connects a checkpoint to a writer.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bankai.architectures import Config, architecture
from bankai.checkpoint.gguf import Tensor, write_gguf
from bankai.checkpoint.mlx import write_mlx
from bankai.checkpoint.model_file import open_checkpoint
from bankai.checkpoint.tokenizer_spec import TokenizerSpec
from bankai.errors import UnsupportedModelError
from bankai.io import check_absent
from bankai.journal import check_unclaimed
from bankai.quantization import PackedTensor
from bankai.tensor_names import parse_tensor_name

__all__ = ["convert", "stored_tensors"]


def convert(source: str | Path, target: str | Path) -> Path:
    """Write ``source`` to ``target``: a GGUF file when that ends in ``.gguf``, else an MLX directory.

    Raises what ``open_checkpoint`` raises, StoreError when ``target`` exists or cannot be written, and
    UnsupportedModelError when the target format cannot hold a value exactly; ``target`` is then not created.
    """
    path = Path(target)
    check_absent(path)
    check_unclaimed(path)
    with open_checkpoint(source) as checkpoint:
        arch = architecture(checkpoint.architecture)
        arch.check_mlx()
        tokenizer = checkpoint.tokenizer()
        tensors: dict[str, Tensor] = {name: checkpoint.packed(name) for name in checkpoint.matrices}
        tensors |= {name: checkpoint.vector(name) for name in checkpoint.vectors}
        if path.suffix.lower() == ".gguf":
            tokens = tokenizer.to_gguf()
            _check_same(tokenizer, TokenizerSpec.from_gguf(tokens), "GGUF")
            metadata = arch.config_to_gguf(checkpoint.config) | tokens
            write_gguf(path, metadata, stored_tensors(tensors, checkpoint.config))
        else:
            _check_same(tokenizer, _through_json(tokenizer), "tokenizer.json")
            mlx = {f"{name}.weight": tensor for name, tensor in tensors.items()}
            write_mlx(path, checkpoint.config, mlx, tokenizer)
    return path


def stored_tensors(tensors: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Canonical tensors by their GGUF names, with rows, groups and values as a GGUF file keeps them.

    Raises UnsupportedModelError where GGUF would tear groups apart.
    """
    arch = architecture(config["model_type"])

    def stored(name: str, tensor: Tensor) -> Tensor:
        path = parse_tensor_name(name).path
        if not isinstance(tensor, PackedTensor):
            return arch.stored_vector(path, tensor, config)
        order = arch.order(path, config, tensor.quantization.weights)
        return replace(tensor, blocks=order.stored(tensor.blocks)) if order else tensor

    return {arch.gguf_name(name): stored(name, tensor) for name, tensor in tensors.items()}


def _through_json(tokenizer: TokenizerSpec) -> TokenizerSpec:
    """The tokenizer as it comes back from its JSON files."""
    rows, ends = len(tokenizer.tokens), tokenizer.to_generation_config().values()
    return TokenizerSpec.from_json(tokenizer.to_json(), tokenizer.to_json_config(), rows, ends)


def _check_same(tokenizer: TokenizerSpec, back: TokenizerSpec, target: str) -> None:
    if back != tokenizer:
        raise UnsupportedModelError(f"{target} cannot hold this tokenizer exactly; keep this format")
