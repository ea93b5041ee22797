"""Text from a model, piece by piece. Greedy unless a temperature is given.

Greedy text agrees with `margin > 0`: both take the most probable token of the same logits.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.errors import NotFiniteError
from bankai.model.chat import render_chat

__all__ = ["prompt_ids", "stream", "token_stream"]

_GREEDY_BELOW = 1e-6
"""Temperatures so low take the most probable token anyway; float32 logits divided by them could overflow."""


def prompt_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, *, chat: bool = False
) -> list[int]:
    """The prompt as tokens; with `chat` as one user message in the model's chat template.

    Raises ValueError for an empty prompt, one that fills the context, and `chat` without a template,
    UnsupportedModelError for a template that fails.
    """
    if chat and not tokenizer.chat_template:
        raise ValueError("this model has no chat template; ask without it")
    if chat:
        messages = [{"role": "user", "content": prompt}]
        prompt = render_chat(tokenizer, messages)
    ids = tokenizer(prompt, add_special_tokens=not chat)["input_ids"]
    context = model.config.max_position_embeddings
    if not 0 < len(ids) < context:
        raise ValueError(f"the prompt has {len(ids)} tokens; give at least 1 and less than {context}")
    return ids


def stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[int],
    *,
    max_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
) -> Iterator[str]:
    """Yield the continuation of `ids` as text, at most `max_tokens` tokens, until the model ends its turn."""
    told, new = "", []
    for token in token_stream(model, ids, max_tokens=max_tokens, temperature=temperature, seed=seed):
        if token == tokenizer.eos_token_id:
            break
        new.append(token)
        text = tokenizer.decode(new, skip_special_tokens=True)
        if not text.endswith("\ufffd"):  # else in the middle of a character
            yield text[len(told) :]
            told = text


@torch.no_grad()
def token_stream(
    model: PreTrainedModel, ids: list[int], *, max_tokens: int = 64, temperature: float = 0.0, seed: int = 0
) -> Iterator[int]:
    """Yield the tokens that continue `ids`, at most `max_tokens`, past the end of a turn too.

    The bits may change between two of them only if they have changed back before the next.
    """
    random = torch.Generator().manual_seed(seed)
    cache, step = None, torch.tensor([ids])
    for _ in range(min(max_tokens, model.config.max_position_embeddings - len(ids))):
        output = model(input_ids=step.to(model.device), past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        token = _choose(output.logits[0, -1].float().cpu(), temperature, random)
        yield token
        step = torch.tensor([[token]])


def _choose(logits: Tensor, temperature: float, random: torch.Generator) -> int:
    """One token from logits [vocab]. Raises NotFiniteError for logits that are not numbers."""
    if not logits.isfinite().all():
        raise NotFiniteError
    if temperature < _GREEDY_BELOW:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(0), 1, generator=random))
