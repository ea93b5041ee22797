"""Train nano from scratch: a Qwen3 whose every matrix is one bit per weight, by straight-through binarization.

    python models/nano/train.py --out nano.gguf        # about an hour on 2 cores

The forward pass uses `sign(w) * d` with `d = mean |w|` over each group of 128, rounded to fp16: exactly the numbers of
Q1_0. The gradient passes straight through to the latent weight `w` (Bengio et al., 2013). Norms stay fp32. What is
saved is the packed model, no latent weights.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from corpus import packed_rows, train_tokenizer
from export import write_model
from tokenizers import Tokenizer
from torch.nn.utils import parametrize
from transformers import Qwen3Config, Qwen3ForCausalLM

GROUP = 128
VOCAB = 512
STEPS = 3500
ROWS, LENGTH = 64, 64
LEARNING_RATE = 2e-3
WARMUP = 100


class Binarize(torch.nn.Module):
    """w -> sign(w) * mean|w| per group of 128 along the last axis, straight-through gradient."""

    def forward(self, w: torch.Tensor) -> torch.Tensor:  # [out, in]
        groups = w.view(w.shape[0], -1, GROUP)
        d = groups.abs().mean(-1, keepdim=True).half().float()
        binary = torch.where(groups >= 0, d, -d).view_as(w)
        return w + (binary - w).detach()


def build_model() -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
    )
    model = Qwen3ForCausalLM(config)
    for module in list(model.modules()):
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            parametrize.register_parametrization(module, "weight", Binarize())
    return model


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to a twentieth."""
    if step < WARMUP:
        return LEARNING_RATE * (step + 1) / WARMUP
    progress = (step - WARMUP) / (steps - WARMUP)
    return LEARNING_RATE * (0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2)


def loss_of(model: Qwen3ForCausalLM, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted next-token cross-entropy; tokens and weights [rows, length]."""
    logits = model(tokens[:, :-1]).logits  # [rows, length - 1, vocab]
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    )
    return (losses * weights[:, 1:].flatten()).sum() / weights[:, 1:].sum()


def train(steps: int, seed: int) -> tuple[Qwen3ForCausalLM, Tokenizer]:
    """Returns the trained model and its tokenizer, the same for a seed, a thread count and a machine type."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(VOCAB, seed)
    tokens, weights = map(
        torch.from_numpy, packed_rows(tokenizer, steps * ROWS, LENGTH, seed=1_000_003 * (seed + 1))
    )
    model = build_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    start, running = time.monotonic(), 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        batch = slice(step * ROWS, (step + 1) * ROWS)
        loss = loss_of(model, tokens[batch], weights[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running = 0.98 * running + 0.02 * loss.item()
        if step % 50 == 49:
            minutes = (time.monotonic() - start) / 60
            print(
                f"step {step + 1}/{steps}  loss {running / (1 - 0.98 ** (step + 1)):.4f}  {minutes:.1f} min",
                flush=True,
            )
    return model.eval(), tokenizer


def bake(model: Qwen3ForCausalLM) -> None:
    """Replace every latent weight by its binary value."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the GGUF file to write")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, tokenizer = train(arguments.steps, arguments.seed)
    bake(model)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_model(model, tokenizer, arguments.out, {"nano.steps": arguments.steps, "nano.seed": arguments.seed})


if __name__ == "__main__":
    main()
