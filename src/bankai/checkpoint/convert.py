"""A 1-bit model from GGUF to MLX or back: signs, scales and norms bit for bit, settings and tokenizer.

What the other format has no place for (a model card's text, a licence key) is left behind. This module only
connects a checkpoint to a writer.
"""

from pathlib import Path

from bankai.architectures.config import config_to_gguf
from bankai.architectures.names import architecture, check_mlx
from bankai.architectures.order import Tensor, stored_tensors
from bankai.checkpoint.gguf import write_gguf
from bankai.checkpoint.mlx import write_mlx
from bankai.checkpoint.model_file import open_checkpoint
from bankai.checkpoint.tokenizer_spec import TokenizerSpec
from bankai.errors import UnsupportedModelError
from bankai.io import check_absent
from bankai.journal import check_unclaimed

__all__ = ["convert"]


def convert(source: str | Path, target: str | Path) -> Path:
    """Write ``source`` to ``target``: a GGUF file when that ends in ``.gguf``, else an MLX directory.

    Raises what ``open_checkpoint`` raises, StoreError when ``target`` exists or cannot be written, and
    UnsupportedModelError when the target format cannot hold a value exactly; ``target`` is then not created.
    """
    path = Path(target)
    check_absent(path)
    check_unclaimed(path)
    with open_checkpoint(source) as checkpoint:
        names = architecture(checkpoint.architecture)
        check_mlx(names)
        tokenizer = checkpoint.tokenizer()
        tensors: dict[str, Tensor] = {name: checkpoint.binary(name) for name in checkpoint.binary_names()}
        tensors |= {name: checkpoint.dense(name) for name in checkpoint.dense_names()}
        if path.suffix.lower() == ".gguf":
            tokens = tokenizer.to_gguf()
            _check_same(tokenizer, TokenizerSpec.from_gguf(tokens), "GGUF")
            metadata = config_to_gguf(checkpoint.config) | tokens
            write_gguf(path, metadata, stored_tensors(tensors, checkpoint.config))
        else:
            _check_same(tokenizer, _through_json(tokenizer), "tokenizer.json")
            mlx = {names.to_mlx(name): tensor for name, tensor in tensors.items()}
            write_mlx(path, checkpoint.config, mlx, tokenizer)
    return path


def _through_json(tokenizer: TokenizerSpec) -> TokenizerSpec:
    """The tokenizer as it comes back from its JSON files."""
    rows, ends = len(tokenizer.tokens), tokenizer.to_generation_config().values()
    return TokenizerSpec.from_json(tokenizer.to_json(), tokenizer.to_json_config(), rows, ends)


def _check_same(tokenizer: TokenizerSpec, back: TokenizerSpec, target: str) -> None:
    if back != tokenizer:
        raise UnsupportedModelError(f"{target} cannot hold this tokenizer exactly; keep this format")
