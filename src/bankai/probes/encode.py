"""Probes as token ids: context, answer and stop encoded as one text, then split where the answer begins.

The split follows lm-evaluation-harness (``_encode_pair``): an answer is tokenized in its context, as the model would
have to emit it. A token that straddles the border belongs to the answer; the audit reports it. Where the stop is the
end of the turn, every token that ends a text for the model counts as the last one.
"""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from bankai.errors import ProbeFormatError, UnsupportedModelError
from bankai.model.chat import render_chat
from bankai.model.tokenizer import end_tokens, missing_template
from bankai.probes.probe import Probe

__all__ = ["EncodedAnswer", "context_ids", "context_text", "encode", "encode_answer"]


@dataclass(frozen=True, slots=True)
class EncodedAnswer:
    """Token ids of context, answer and stop; the answer's first token is ``ids[answer_start]``.

    ``ends``: ids that count as the last one as well as it does itself.
    """

    ids: tuple[int, ...]
    answer_start: int
    ends: tuple[int, ...] = ()

    @property
    def context(self) -> tuple[int, ...]:
        return self.ids[: self.answer_start]

    @property
    def answer(self) -> tuple[int, ...]:
        """With the stop."""
        return self.ids[self.answer_start :]

    @property
    def targets(self) -> tuple[tuple[int, ...], ...]:
        """What counts at each token of the answer: rows of one length, each of its own id first, which fills them."""
        spare = len(self.ends)
        return (*((i,) * (1 + spare) for i in self.answer[:-1]), (self.ids[-1], *self.ends))


def context_text(probe: Probe, tokenizer: PreTrainedTokenizerBase) -> str:
    """All text that stands before the answer: the prompt or the rendered chat, then the prefix.

    Raises UnsupportedModelError when the model's chat template is missing or fails, ProbeFormatError for a variable
    that no probe may set.
    """
    if probe.messages is None:
        return f"{probe.prompt}{probe.prefix}"
    messages = [{"role": message.role, "content": message.content} for message in probe.messages]
    if tokenizer.chat_template is None:
        raise UnsupportedModelError(
            f"probe {probe.id}: {missing_template(tokenizer, 'give a prompt instead')}"
        )
    try:
        return f"{render_chat(tokenizer, messages, probe.chat_template_kwargs)}{probe.prefix}"
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"probe {probe.id}: {error}") from error
    except ValueError as error:
        raise ProbeFormatError(f"probe {probe.id}: chat_template_kwargs: {error}") from error


def context_ids(probe: Probe, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The context as a user would send it, alone."""
    text = context_text(probe, tokenizer)
    return tuple(tokenizer(text, add_special_tokens=probe.messages is None)["input_ids"])


def encode_answer(probe: Probe, answer: str, tokenizer: PreTrainedTokenizerBase) -> EncodedAnswer:
    """Context, an answer and the stop; the answer begins at the first token that reaches past the context.

    Raises ProbeFormatError when either side has no token, UnsupportedModelError when the stop is the end of the turn
    and the model has none, and what :func:`context_text` raises.
    """
    context = context_text(probe, tokenizer)
    # A chat template writes its own special tokens; adding them again would change the prompt.
    encoded = tokenizer(
        f"{context}{answer}{probe.stop or ''}",
        add_special_tokens=probe.messages is None,
        return_offsets_mapping=True,
    )
    ids = tuple(encoded["input_ids"])
    reaches = [end for _, end in encoded["offset_mapping"]]
    start = next((index for index, end in enumerate(reaches) if end > len(context)), len(ids))
    if not 0 < start < len(ids):
        raise ProbeFormatError(
            f"probe {probe.id}: the tokenizer has no token for the prompt or for {answer!r}; reword it"
        )
    if probe.stop is not None:
        return EncodedAnswer(ids, start)
    last, *others = _turn_ends(probe, tokenizer)
    return EncodedAnswer((*ids, last), start, tuple(others))


def _turn_ends(probe: Probe, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end the model's turn, the usual one first."""
    ends = sorted(end_tokens(tokenizer), key=lambda token: (token != tokenizer.eos_token_id, token))
    if not ends:
        raise UnsupportedModelError(
            f"probe {probe.id}: the model names no token that ends a turn; give the probe a stop"
        )
    return ends


def encode(probe: Probe, tokenizer: PreTrainedTokenizerBase) -> list[EncodedAnswer]:
    """One :class:`EncodedAnswer` per accepted answer, in their order."""
    return [encode_answer(probe, answer, tokenizer) for answer in probe.answers]
