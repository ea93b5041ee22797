"""Hypothesis strategies and builders of patches, shared by the tests of patch and store."""

import random

from hypothesis import strategies as st

from bankai.patch import Binding, Flip, Manifest, Patch

PROJECTIONS = [f"mlp.{name}_proj" for name in ("gate", "up", "down")] + [
    f"self_attn.{name}_proj" for name in "qkvo"
]
NAMES = st.one_of(
    st.builds("model.layers.{}.{}".format, st.integers(0, 40), st.sampled_from(PROJECTIONS)),
    st.sampled_from(
        ["model.embed_tokens", "lm_head", "other", "experts.7.x.8.y", "a.10000.b", "a.007.b", "5"]
    ),
    st.from_regex(r"[a-c0-9_-]{1,3}(\.[a-c0-9_-]{1,3}){0,3}", fullmatch=True),
)
ROWS, GROUPS = st.integers(0, 5000), st.one_of(st.integers(0, 31), st.integers(0, 2**20 - 1))
FLIPS = st.one_of(
    st.builds(Flip, NAMES, ROWS),
    st.builds(Flip, NAMES, ROWS, GROUPS),
    st.builds(Flip, NAMES, ROWS, GROUPS, st.integers(0, 127)),
)
"""Places that a true 1-bit model can have."""
OTHER_FLIPS = FLIPS | st.builds(Flip, NAMES, ROWS, GROUPS, st.integers(0, 255))
DIGESTS = st.binary(min_size=8, max_size=8)
BINDINGS, OTHER_BINDINGS = (
    st.builds(Binding, DIGESTS, DIGESTS, DIGESTS, st.just(version)) for version in (1, 2)
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
MANIFESTS = st.builds(
    Manifest,
    name=TEXT,
    description=TEXT,
    base_model=TEXT,
    seed=st.none() | st.integers(0, 2**63 - 1),
    objective=TEXT,
    strategy=TEXT,
    probes=TEXT,
    versions=OBJECTS,
    results=OBJECTS,
    metadata=OBJECTS,
)
PATCHES = st.one_of(
    st.builds(Patch, st.frozensets(flips, max_size=12), st.none() | bindings, st.just(Manifest()) | MANIFESTS)
    for flips, bindings in ((FLIPS, BINDINGS), (OTHER_FLIPS, OTHER_BINDINGS))
)
"""Of true 1-bit models, and of all others."""


def random_rows(count: int, layers: list[int], rows: dict[str, int], seed: int) -> Patch:
    """`count` row flips drawn uniformly from `layers` x `rows` (MLP projection -> its number of rows)."""
    per_layer = [(name, row) for name, size in rows.items() for row in range(size)]
    chosen = random.Random(seed).sample(range(len(layers) * len(per_layer)), count)
    flips = []
    for place in chosen:
        layer, rest = divmod(place, len(per_layer))
        name, row = per_layer[rest]
        flips.append(Flip(f"model.layers.{layers[layer]}.mlp.{name}_proj", row))
    return Patch.of(flips)
