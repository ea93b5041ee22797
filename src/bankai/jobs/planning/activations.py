"""The memory that the activations of one layer take, by formulas of shapes: counted in elements alive together.

The gated delta rule of linear attention takes `RULE` tokens at once, fills sequences up to whole chunks of them, keeps
a state for each head of each sequence, and computes in float32: a short sequence takes as much memory in it as a whole
chunk.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any

from bankai.architectures.config import layer_kinds
from bankai.architectures.names import LINEAR_ATTENTION
from bankai.evaluation.scoring import Batch

__all__ = ["FLOAT", "layer_bytes", "step_bytes"]

FLOAT = 4
RULE = 64
RULE_COPIES, RULE_GRADIENT_COPIES = 9, 12  # of the values of all chunks: without and with a gradient
RULE_SQUARES = 3  # of every head and chunk, tokens by tokens
RULE_STATES, RULE_READS = 4, 2  # of every sequence: states, and values of one chunk
Config = Mapping[str, Any]


def layer_bytes(config: Config, batch: Batch, item: int) -> int:
    """Of the heaviest kind of layer, without a gradient, when it computes a batch."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries, keys = (
        config[name] * config["head_dim"] for name in ("num_attention_heads", "num_key_value_heads")
    )
    # Gate, up and their product; or queries and keys before and after the rotation, and values, each with its copy.
    full = batch.ids.numel() * item * (4 * hidden + max(3 * inner, 6 * (queries + keys)))
    return max(full, _rule(config, batch, item, RULE_COPIES)) if _hybrid(config) else full


def step_bytes(config: Config, batch: Batch, item: int) -> int:
    """Of a step of attribution through the heaviest kind: activations kept for the way back, and gradients."""
    tokens, queries = batch.ids.numel(), config["num_attention_heads"] * config["head_dim"]
    mlp = 16 * config["hidden_size"] + 8 * config["intermediate_size"]
    if not _hybrid(config):
        return tokens * item * (mlp + 6 * queries)
    gated = tokens * item * (mlp + 12 * queries)
    convolved, values = _rows(config)
    kept = tokens * item * (mlp + convolved + 23 * values) + FLOAT * RULE_COPIES * _padded(batch) * values
    return max(gated, kept, _rule(config, batch, item, RULE_GRADIENT_COPIES))


def _hybrid(config: Config) -> bool:
    return LINEAR_ATTENTION in layer_kinds(config)


def _rows(config: Config) -> tuple[int, int]:
    """Of linear attention: of all that is convolved, and of its values alone."""
    keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    values = config["linear_num_value_heads"] * config["linear_value_head_dim"]
    return 2 * keys + values, values


def _padded(batch: Batch) -> int:
    """Tokens of whole chunks."""
    sequences, length = batch.ids.shape
    return sequences * ceil(length / RULE) * RULE


def _rule(config: Config, batch: Batch, item: int, copies: int) -> int:
    """Of linear attention inside the delta rule, with so many copies of the values."""
    convolved, values = _rows(config)
    squares = RULE_SQUARES * RULE * config["linear_num_value_heads"]
    states = values * (RULE_STATES * config["linear_value_head_dim"] + RULE_READS * RULE)
    rule = _padded(batch) * (copies * values + squares) + len(batch.ids) * states
    # What is convolved before, after and activated; the gate; queries and keys, one for every head of values.
    around = batch.ids.numel() * (4 * config["hidden_size"] + 3 * convolved + 3 * values)
    return item * around + FLOAT * rule
