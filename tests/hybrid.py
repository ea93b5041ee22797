"""A model with linear and full attention in turn (qwen35), places for it: what tests of all rooms share.

Three value heads to a key head, so that putting them in order is not its own inverse.
"""

from hypothesis import strategies as st

from bankai.patch import Flip

LAYERS = 4
KEY_HEADS, VALUE_HEADS, WIDTH = 2, 6, 128
HYBRID = {
    "model_type": "qwen35",
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "full_attention_interval": 2,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": WIDTH,
    "linear_value_head_dim": WIDTH,
    "linear_num_key_heads": KEY_HEADS,
    "linear_num_value_heads": VALUE_HEADS,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5,
                        "mrope_section": [6, 5, 5]},
}  # fmt: skip
LINEAR_LAYERS, FULL_LAYERS = (0, 2), (1, 3)
LINEAR = {
    "linear_attn.in_proj_qkv": (1280, 256),
    "linear_attn.in_proj_z": (768, 256),
    "linear_attn.in_proj_b": (6, 256),
    "linear_attn.in_proj_a": (6, 256),
    "linear_attn.out_proj": (256, 768),
}
FULL = {
    "self_attn.q_proj": (512, 256),
    "self_attn.k_proj": (128, 256),
    "self_attn.v_proj": (128, 256),
    "self_attn.o_proj": (256, 256),
}
MLP = {"mlp.gate_proj": (384, 256), "mlp.up_proj": (384, 256), "mlp.down_proj": (256, 384)}
SHAPES = {
    f"model.layers.{layer}.{path}": shape
    for layer in range(LAYERS)
    for path, shape in ((LINEAR if layer in LINEAR_LAYERS else FULL) | MLP).items()
}


@st.composite
def places(draw: st.DrawFn, linear: bool = False) -> Flip:
    """Any row, group or bit of a projection, or of those of linear attention."""
    name = draw(st.sampled_from([name for name in SHAPES if not linear or ".linear_attn." in name]))
    rows, columns = SHAPES[name]
    group = draw(st.none() | st.integers(0, columns // 128 - 1))
    bit = None if group is None else draw(st.none() | st.integers(0, 127))
    return Flip(name, draw(st.integers(0, rows - 1)), group, bit)
