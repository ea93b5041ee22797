"""A plain-NumPy Qwen3 forward pass, written from the architecture: the second, independent reference.

Computes in float64 from a checkpoint's dense weights; one sequence at a time. Supports default RoPE and YaRN.
"""

import math

import numpy as np


def forward(checkpoint, ids):
    """Next-token logits [tokens, vocab]."""
    config = checkpoint.config
    weights = {name: checkpoint.packed(name).to_dense().astype(np.float64) for name in checkpoint.matrices}
    norms = {name: checkpoint.vector(name).astype(np.float64) for name in checkpoint.vectors}
    eps = config["rms_norm_eps"]
    x = weights["model.embed_tokens"][ids]
    cos, sin = rotations(config, len(ids))
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        y = rms_norm(x, norms[f"{layer}.input_layernorm"], eps)
        x = x + attention(layer, y, weights, norms, config, cos, sin)
        y = rms_norm(x, norms[f"{layer}.post_attention_layernorm"], eps)
        gate = y @ weights[f"{layer}.mlp.gate_proj"].T
        inner = gate / (1 + np.exp(-gate)) * (y @ weights[f"{layer}.mlp.up_proj"].T)
        x = x + inner @ weights[f"{layer}.mlp.down_proj"].T
    head = weights.get("lm_head", weights["model.embed_tokens"])
    return rms_norm(x, norms["model.norm"], eps) @ head.T


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def attention(layer, y, weights, norms, config, cos, sin):
    """[tokens, hidden] to [tokens, hidden]: grouped-query attention, heads normalized before rotation."""
    tokens, size = len(y), config["head_dim"]
    names = {
        kind: f"{layer}.self_attn.{kind}"
        for kind in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")
    }
    q, k, v = ((y @ weights[names[f"{kind}_proj"]].T).reshape(tokens, -1, size) for kind in "qkv")
    q = rotate(rms_norm(q, norms[names["q_norm"]], config["rms_norm_eps"]), cos, sin)
    k = rotate(rms_norm(k, norms[names["k_norm"]], config["rms_norm_eps"]), cos, sin)
    share = q.shape[1] // k.shape[1]
    out = np.empty_like(q)
    for head in range(q.shape[1]):
        scores = q[:, head] @ k[:, head // share].T / math.sqrt(size)
        scores[np.triu_indices(tokens, 1)] = -np.inf
        scores = np.exp(scores - scores.max(1, keepdims=True))
        out[:, head] = scores / scores.sum(1, keepdims=True) @ v[:, head // share]
    return out.reshape(tokens, -1) @ weights[names["o_proj"]].T


def rotate(x, cos, sin):
    """[tokens, heads, head_dim]; the halves of a head are the real and imaginary parts."""
    left, right = np.split(x, 2, axis=-1)
    return np.concatenate([left * cos - right * sin, left * sin + right * cos], axis=-1)


def rotations(config, tokens):
    """cos and sin, [tokens, 1, head_dim / 2]. YaRN: Peng et al. (2023), with its ramp over pair indices."""
    rope, size = config["rope_parameters"], config["head_dim"]
    theta = np.array([rope["rope_theta"] ** (-2 * pair / size) for pair in range(size // 2)])
    amplitude = 1.0
    if rope["rope_type"] == "yarn":
        factor, original = rope["factor"], rope["original_max_position_embeddings"]
        edges = [
            size * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope["rope_theta"]))
            for turns in (rope.get("beta_fast", 32.0), rope.get("beta_slow", 1.0))
        ]
        low, high = max(math.floor(edges[0]), 0), min(math.ceil(edges[1]), size - 1)
        for pair in range(size // 2):
            ramp = min(max((pair - low) / max(high - low, 0.001), 0.0), 1.0)
            theta[pair] *= (1 - ramp) + ramp / factor
        amplitude = 0.1 * math.log(factor) + 1
    angles = np.arange(tokens)[:, None, None] * theta
    return amplitude * np.cos(angles), amplitude * np.sin(angles)
