"""The first half of a layer, its mixer: what lets positions see each other, in the ways that transformers knows.

This is where architectures and the layers of a hybrid differ for a search: a `Mixer` names the projections of a kind of
layer and computes it. A new kind is one more entry of `MIXERS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ATTENTION", "LINEAR_ATTENTION", "MIXERS", "Change", "Changes", "Mixer", "Rotary", "mixer_of"]

ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
LINEAR_ATTENTION = (
    "linear_attn.in_proj_qkv",
    "linear_attn.in_proj_z",
    "linear_attn.in_proj_b",
    "linear_attn.in_proj_a",
    "linear_attn.out_proj",
)
Rotary = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Change:
    """Flipping row r of a projection changes an activation further on, `at[..., r]`, by exactly `by[..., r]`.

    Both [sequences, length, rows]; `at` is a part of the computation, `by` a number. To follow a flip there is better
    than at the projection's own output when something that is far from linear lies between.
    """

    at: Tensor
    by: Tensor


Changes = dict[str, Change]
"""By path of the projection inside a layer."""


@dataclass(frozen=True)
class Mixer:
    """`mix` takes the part of a layer that is called `module`, what it reads [sequences, length, hidden], the rotary
    tensors, and where to note exact changes, if any; it gives what is added to the residual. Sequences are
    right-padded: a position sees itself and earlier ones only.
    """

    module: str
    projections: tuple[str, ...]
    mix: Callable[[nn.Module, Tensor, Rotary, Changes | None], Tensor]


def _attention(module: nn.Module, x: Tensor, rotary: Rotary, changes: Changes | None) -> Tensor:
    output, _ = module(hidden_states=x, position_embeddings=rotary, attention_mask=None)
    return output


def _linear_attention(module: nn.Module, x: Tensor, rotary: Rotary, changes: Changes | None) -> Tensor:
    """The gated delta rule. A state takes the place of positions, so nothing is rotated.

    A convolution over four tokens and SiLU make query, key and value, of which the state of a head keeps what `beta`
    and `decay` let it. The same operations as in transformers' own forward, for what lies between its modules.
    """
    from transformers.models.qwen3_5.modeling_qwen3_5 import torch_chunk_gated_delta_rule

    sequences, length, _ = x.shape
    heads = (sequences, length, -1)
    # each [sequences, length, its rows]
    qkv, z, b, a = (getattr(module, f"in_proj_{name}")(x) for name in ("qkv", "z", "b", "a"))
    convolved = module.conv1d(qkv.transpose(1, 2))[..., :length].transpose(1, 2)
    active = functional.silu(convolved)
    query, key, value = active.split((module.key_dim, module.key_dim, module.value_dim), dim=-1)
    query, key = (_repeated(module, part.reshape(*heads, module.head_k_dim)) for part in (query, key))
    beta, decay = b.sigmoid(), _decay(module, a)  # [sequences, length, value heads]
    read, _ = torch_chunk_gated_delta_rule(
        query,
        key,
        value.reshape(*heads, module.head_v_dim),
        g=decay,
        beta=beta,
        use_qk_l2norm_in_kernel=True,
    )
    read, gates = read.reshape(-1, module.head_v_dim), z.reshape(-1, module.head_v_dim)
    gated = module.norm(read, gates).reshape(heads)
    if changes is not None:
        # silu(-c) = silu(c) - c, of the convolution and of the gate; sigmoid(-b) = 1 - sigmoid(b)
        scaled = functional.rms_norm(
            read.float(), (module.head_v_dim,), module.norm.weight.float(), module.norm.variance_epsilon
        )
        changes |= {
            "linear_attn.in_proj_qkv": Change(active, -convolved.detach()),
            "linear_attn.in_proj_z": Change(gated, -(scaled * gates).reshape(heads).detach()),
            "linear_attn.in_proj_b": Change(beta, (1 - 2 * beta).detach()),
            "linear_attn.in_proj_a": Change(decay, (_decay(module, -a) - decay).detach()),
        }
    return module.out_proj(gated)


def _repeated(module: nn.Module, heads: Tensor) -> Tensor:
    """Every key head [sequences, length, heads, width] for each of its value heads: not all transformers do it inside.

    As it is where there is one for each: a copy is laid out otherwise, and sums differ in their last digits.
    """
    times = module.num_v_heads // module.num_k_heads
    return heads if times == 1 else heads.repeat_interleave(times, dim=2)


def _decay(module: nn.Module, a: Tensor) -> Tensor:
    """Logarithm of what a head's state keeps of itself."""
    return -module.A_log.float().exp() * functional.softplus(a.float() + module.dt_bias)


MIXERS = (
    Mixer("self_attn", ATTENTION, _attention),
    Mixer("linear_attn", LINEAR_ATTENTION, _linear_attention),
)


def mixer_of(block: nn.Module) -> Mixer:
    """Of a layer of a model."""
    return next(mixer for mixer in MIXERS if hasattr(block, mixer.module))
