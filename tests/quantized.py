"""Random tensors in every quantization: what tests of masks, files, models and engines share."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bankai.patch.places import Places
from bankai.quantization import QUANTIZATIONS, PackedTensor, Quantization

__all__ = ["NAMES", "places_of", "random_blocks", "random_tensor", "tensors"]

NAMES = [kind.name for kind in QUANTIZATIONS]


@st.composite
def tensors(draw: st.DrawFn, kind: Quantization) -> PackedTensor:
    """Any bytes: scales may be negative, zero, subnormal, infinite and no numbers."""
    rows, groups = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    return PackedTensor("t", kind, draw(arrays(np.uint8, (rows, groups, kind.nbytes))))


@st.composite
def places_of(draw: st.DrawFn, tensor: PackedTensor) -> Places:
    """Any rows and groups, and single weights where they have signs of their own; each at most once."""
    info = tensor.info
    rows, groups = st.integers(0, info.rows - 1), st.integers(0, info.groups - 1)
    weights = st.tuples(rows, groups, st.integers(0, info.quantization.weights - 1))
    own = info.quantization.own_signs
    return Places(
        tuple(sorted(draw(st.sets(rows, max_size=3)))),
        tuple(sorted(draw(st.sets(st.tuples(rows, groups), max_size=4)))),
        tuple(sorted(draw(st.sets(weights, max_size=5)))) if own else (),
    )


def random_blocks(kind: Quantization, rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Blocks of finite weights that are about as large as those of a trained model."""
    groups = columns // kind.weights
    if kind.plain:
        weights = rng.normal(0, columns**-0.5, (rows, columns)).astype("<f2" if kind.name == "F16" else "<f4")
        # The bytes of bfloat16 are the upper ones of float32.
        stored = weights[..., None].view(np.uint8)[..., -kind.nbytes // kind.weights :]
        return stored.reshape(rows, groups, kind.nbytes)
    blocks = rng.integers(0, 256, (rows, groups, kind.nbytes), dtype=np.uint8)
    scales = rng.uniform(0.5, 1.5, (rows, groups)) * rng.choice([-1, 1], (rows, groups))
    _set_scales(blocks, kind, np.ones((rows, groups)))
    unit = kind.decode(blocks).std()
    _set_scales(blocks, kind, scales * columns**-0.5 / unit)
    return blocks


def _set_scales(blocks: np.ndarray, kind: Quantization, scales: np.ndarray) -> None:
    """The fp16 numbers that scale a block: those that its mask negates, and of Q1_0 the first two bytes."""
    for bit in (15,) if kind.own_signs else kind.sign_bits:
        at = bit // 8 - 1
        blocks[..., at : at + 2] = scales.astype("<f2")[..., None].view(np.uint8)


def random_tensor(
    name: str, kind: Quantization, shape: tuple[int, int], rng: np.random.Generator
) -> PackedTensor:
    return PackedTensor(name, kind, random_blocks(kind, *shape, rng))
