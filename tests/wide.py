"""A model with several groups in every row, places and probes for it: what tests of overlay and search share."""

from hypothesis import strategies as st

from bankai.patch import Flip
from bankai.probes import Message, Probe

LAYERS = 3
WIDE = {
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SHAPES = {
    "self_attn.q_proj": (256, 256),
    "self_attn.k_proj": (128, 256),
    "self_attn.v_proj": (128, 256),
    "self_attn.o_proj": (256, 256),
    "mlp.gate_proj": (384, 256),
    "mlp.up_proj": (384, 256),
    "mlp.down_proj": (256, 384),
}


def name(layer: int, path: str) -> str:
    """Canonical name of a projection; `path` may leave out its first part: "up_proj"."""
    full = next(key for key in SHAPES if key.endswith(path))
    return f"model.layers.{layer}.{full}"


@st.composite
def places(draw: st.DrawFn) -> Flip:
    """Any row, group or bit of a projection; low rows come often, so that places meet."""
    path = draw(st.sampled_from(list(SHAPES)))
    rows, columns = SHAPES[path]
    group = draw(st.none() | st.integers(0, columns // 128 - 1))
    return Flip(
        name(draw(st.integers(0, LAYERS - 1)), path),
        draw(st.integers(0, 2) | st.integers(0, rows - 1)),
        group,
        None if group is None else draw(st.none() | st.integers(0, 127)),
    )


CANDIDATES = st.lists(st.frozensets(places(), max_size=6), min_size=1, max_size=4)


def make_probe(prompt: str, *answers: str, category: str = "any") -> Probe:
    return Probe(id=prompt, item=prompt, category=category, split="target", prompt=prompt, answers=answers)


TARGETS = (
    make_probe("a bc", "d", "the"),
    make_probe("hello ", "x"),
    make_probe("what is the answer to the question", " ok"),
    make_probe("z", "9", "00", "the number"),
    make_probe("the number of", " it all"),
    Probe(id="turn", item="turn", category="any", split="target", messages=(Message("user", "what"),),
          answers=("ok", "the"), prefix=" "),
)  # fmt: skip
CONTROLS = (
    make_probe("is it", " 4", " so"),
    make_probe("question: ", "the answer"),
    make_probe("q", "e"),
)
TEXTS = ("the question is what the answer equals", "number ok. " * 9)
