"""One prompt to the base and to the patched model: what each says, and what each makes of every token of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.errors import StudioError
from bankai.evaluation.batches import prepare_encoded
from bankai.evaluation.scoring import answer_hidden, token_scores
from bankai.model.generation import CachedStep, Writer, prompt_ids, write
from bankai.model.sampling import Sampler
from bankai.model.text_stream import TextStream
from bankai.model.tokenizer import end_tokens
from bankai.probes.encode import EncodedAnswer
from bankai.steps import StepListener, ignore_steps
from bankai.studio.shared import SharedModel

__all__ = ["MOST_TOKENS", "Asked", "Compared", "Parting", "Token", "compare"]

MOST_TOKENS = 256
MOST_LETTERS = 20_000
TURN = 8  # tokens that are chosen before somebody else has the turn
LIKELIEST = 5


@dataclass(frozen=True)
class Asked:
    """A prompt and how to continue it; with `line` up to the end of the line."""

    prompt: str
    chat: bool = False
    line: bool = True
    max_tokens: int = 48
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Token:
    """A token of a reply with its log-probability under either model; `new` when the other reply has it not.

    The text of a character that takes several tokens is that of the last.
    """

    text: str
    base: float
    patched: float
    new: bool


@dataclass(frozen=True)
class Parting:
    """The likeliest next tokens and their probabilities after `said`, where the replies part.

    Of equal replies, where the two models differ most.
    """

    said: str
    base: tuple[tuple[str, float], ...]
    patched: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Compared:
    """Both replies; `patched` is that of the base when no patch is on."""

    base: tuple[Token, ...]
    patched: tuple[Token, ...]
    parting: Parting

    @property
    def texts(self) -> tuple[str, str]:
        base, patched = ("".join(token.text for token in side) for side in (self.base, self.patched))
        return base, patched


def compare(
    shared: SharedModel, asked: Asked, names: Sequence[str], listen: StepListener = ignore_steps
) -> Compared:
    """Raises StudioError for a prompt that cannot be asked, and what `SharedModel.on` raises."""
    ids = _ids(shared, asked)
    base = _reply(shared, asked, ids, (), listen)
    patched = _reply(shared, asked, ids, names, listen) if names else base
    replies = [tuple(ids + base), tuple(ids + patched)]
    readings = []
    for on in ((), names):
        with shared.on(on) as model:
            readings.append([_read(model, reply, len(ids)) for reply in replies])
    return _compared(shared.tokenizer, base, patched, *readings)


def _ids(shared: SharedModel, asked: Asked) -> list[int]:
    if len(asked.prompt) > MOST_LETTERS or not 1 <= asked.max_tokens <= MOST_TOKENS:
        raise StudioError(f"ask with at most {MOST_LETTERS} letters, and for 1 to {MOST_TOKENS} tokens")
    try:
        return prompt_ids(shared.bench.model, shared.tokenizer, asked.prompt, chat=asked.chat)
    except ValueError as error:
        raise StudioError(str(error)) from None


def _reply(
    shared: SharedModel, asked: Asked, ids: list[int], names: Sequence[str], listen: StepListener
) -> list[int]:
    """The tokens, the end of the turn or line among them."""
    model, tokenizer, found = shared.bench.model, shared.tokenizer, list[int]()
    writer = Writer(
        Sampler(asked.temperature, seed=asked.seed),
        TextStream(tokenizer, ("\n",) if asked.line else ()),
        end_tokens(tokenizer),
        min(asked.max_tokens, model.config.max_position_embeddings - len(ids)),
    )
    written = write(CachedStep(model), [ids], [writer])
    while not writer.ended:
        with shared.on(names):
            found += [one.choice.token for _, one in islice(written, TURN)]
        listen("patched" if names else "base", len(found), asked.max_tokens)
    return found


@torch.no_grad()
def _read(model: PreTrainedModel, ids: Sequence[int], start: int) -> tuple[list[float], Tensor]:
    """Log-probabilities of the tokens from `start` on, and of all tokens in their places: [tokens, vocabulary]."""
    (batch,) = prepare_encoded([[EncodedAnswer(tuple(ids), start)]]).batches
    logits = model.lm_head(answer_hidden(model, batch))
    return token_scores(logits, batch.targets)[0].tolist(), logits.float().log_softmax(1).cpu()


def _compared(
    tokenizer: PreTrainedTokenizerBase,
    base: list[int],
    patched: list[int],
    by_base: Sequence[tuple[list[float], Tensor]],
    by_patched: Sequence[tuple[list[float], Tensor]],
) -> Compared:
    same = SequenceMatcher(None, base, patched, autojunk=False).get_matching_blocks()
    replies = []
    for side, ids in enumerate((base, patched)):
        old = {block[side] + at for block in same for at in range(block.size)}
        columns = zip(_texts(tokenizer, ids), by_base[side][0], by_patched[side][0], strict=True)
        replies.append(tuple(Token(*column, new=at not in old) for at, column in enumerate(columns)))
    longer = int(len(patched) > len(base))  # of two replies that part, one or both go on
    rows = by_base[longer][1], by_patched[longer][1]
    ids = (base, patched)[longer]
    at = _parting(base, patched, *rows)
    likeliest = (_likeliest(tokenizer, row[at]) for row in rows)
    return Compared(replies[0], replies[1], Parting("".join(_texts(tokenizer, ids[:at])), *likeliest))


def _texts(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """What each token adds to the text."""
    texts, told = [], ""
    for count in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:count], skip_special_tokens=False)
        whole = count == len(ids) or not text.endswith("\ufffd")
        texts.append(text[len(told) :] if whole else "")
        told = text if whole else told
    return texts


def _parting(base: list[int], patched: list[int], first: Tensor, second: Tensor) -> int:
    """Index of the first token that differs; of equal replies that of the largest change of its probabilities."""
    for at, (one, other) in enumerate(zip(base, patched, strict=False)):
        if one != other:
            return at
    if len(base) != len(patched):
        return min(len(base), len(patched))
    return int((first.exp() - second.exp()).abs().sum(1).argmax())


def _likeliest(tokenizer: PreTrainedTokenizerBase, row: Tensor) -> tuple[tuple[str, float], ...]:
    values, tokens = row.exp().topk(min(LIKELIEST, len(row)))
    pairs = zip(tokens.tolist(), values.tolist(), strict=True)
    return tuple((tokenizer.decode([token], skip_special_tokens=False), value) for token, value in pairs)
