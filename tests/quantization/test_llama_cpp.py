"""Masks and rows in stock llama.cpp: what should cancel leaves its logits as they are, bit for bit.

The models are random ones of the architecture `llama`, written by llama.cpp's own quantizer. A wrong mask or a wrong
order of rows would change the logits.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import stock
from builders import LLAMA, build_tiny_gguf
from quantized import NAMES

from bankai.checkpoint.model_file import open_checkpoint
from bankai.patch import Flip, Patch
from bankai.patching import apply_patch, bind_patch

pytestmark = pytest.mark.engines

HIDDEN, INNER, HEADS, PAIRS, HEAD, LAYER = 256, 512, 4, 2, 64, "model.layers.1"
SIZES = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_key_value_heads": PAIRS,
    "head_dim": HEAD,
}
IDS = np.random.default_rng(0).integers(0, 256, 40).tolist()


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama in F32."""
    return build_tiny_gguf(tmp_path_factory.mktemp("llama") / "F32.gguf", kind="F32", **LLAMA | SIZES)


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest, floats: Path) -> Path:
    """That model in each quantization."""
    path = stock.requantize(floats, floats.with_name(f"{request.param}-.gguf"), request.param)
    with open_checkpoint(path) as checkpoint:
        assert {info.quantization.name for info in checkpoint.matrices.values()} == {request.param}
    return path


@pytest.fixture(scope="module")
def base(model: Path) -> np.ndarray:
    return stock.logits(model, IDS)


@pytest.fixture
def flipped(model: Path, tmp_path: Path) -> Callable[[Iterable[Flip]], np.ndarray]:
    """The logits of a copy with flips on."""

    def logits(flips: Iterable[Flip]) -> np.ndarray:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.gguf"
        apply_patch(model, bind_patch(model, Patch.of(flips)), out)
        return stock.logits(out, IDS)

    return logits


def rows(path: str, numbers: Iterable[int]) -> list[Flip]:
    return [Flip(f"{LAYER}.{path}", row) for row in numbers]


def check(base: np.ndarray, flipped: Callable[[Iterable[Flip]], np.ndarray], *parts: Sequence[Flip]) -> None:
    """All parts together change nothing; each alone does."""
    assert np.isfinite(base).all()
    np.testing.assert_array_equal(flipped([flip for part in parts for flip in part]), base)
    for part in parts:
        assert np.abs(flipped(part) - base).max() > 1e-3


def test_up_and_down(base: np.ndarray, flipped: Callable[[Iterable[Flip]], np.ndarray]) -> None:
    check(base, flipped, rows("mlp.up_proj", range(INNER)), rows("mlp.down_proj", range(HIDDEN)))


def test_a_rotary_pair_of_queries_and_keys(
    base: np.ndarray, flipped: Callable[[Iterable[Flip]], np.ndarray]
) -> None:
    """Rows i and i + half of every query head of a key-value head, and of its key."""
    group = HEADS // PAIRS
    for pair in (0, 13):
        places = [pair, pair + HEAD // 2]
        queries = [HEAD * (group + head) + place for head in range(group) for place in places]
        keys = [HEAD + place for place in places]
        check(base, flipped, rows("self_attn.q_proj", queries), rows("self_attn.k_proj", keys))


def test_one_row_of_a_rotary_pair_is_not_enough(
    base: np.ndarray, flipped: Callable[[Iterable[Flip]], np.ndarray]
) -> None:
    found = flipped(rows("self_attn.q_proj", [13, 64 + 13]) + rows("self_attn.k_proj", [13]))
    assert np.abs(found - base).max() > 1e-3


def test_values_of_a_head_and_the_columns_that_read_them(
    model: Path, base: np.ndarray, flipped: Callable[[Iterable[Flip]], np.ndarray]
) -> None:
    name = f"{LAYER}.self_attn.o_proj"
    with open_checkpoint(model) as checkpoint:
        width = checkpoint.matrices[name].quantization.weights
    columns = HEAD * HEADS // PAIRS  # of all heads that read one head of values
    groups = range(columns // width, 2 * columns // width)
    output = [Flip(name, row, group) for row in range(HIDDEN) for group in groups]
    check(base, flipped, rows("self_attn.v_proj", range(HEAD, 2 * HEAD)), output)
