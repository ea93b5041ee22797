"""Free replies to questions, and which of them are right: what a model still knows, and which forms it keeps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bankai.evaluation.engine import Engine, Reply
from bankai.model.chat import render_chat
from bankai.probes.probe import Message, Probe, Split
from bankai.probes.questions import Question

__all__ = ["JudgedReply", "judge_replies", "own_replies"]


@dataclass(frozen=True, slots=True)
class JudgedReply:
    """What the model said to a question; `whole` when it ended its reply by itself."""

    question: Question
    text: str
    whole: bool

    @property
    def right(self) -> bool:
        return self.question.accepts(self.text)


def judge_replies(
    engine: Engine, questions: Sequence[Question], *, max_tokens: int = 48
) -> Iterator[JudgedReply]:
    """Ask each question as one user message; the reply is greedy, of at most `max_tokens` tokens. In any order.

    Raises UnsupportedModelError when the model's chat template is missing or fails.
    """
    for index, reply in _replies(engine, [question.question for question in questions], max_tokens):
        yield JudgedReply(questions[index], reply.text, reply.whole)


def own_replies(
    engine: Engine, requests: Mapping[str, Split], *, max_tokens: int
) -> Iterator[tuple[str, Probe | None]]:
    """The model's own reply to each request as a probe of that split, in any order: what a patch should leave alone.

    The replies are greedy, of at most `max_tokens` tokens. Of one that goes on then the last whole word stands for the
    stop, or as many words as stand nowhere else in it; None for one of fewer than two words. Raises
    UnsupportedModelError when the model's chat template is missing or fails.
    """
    asked = list(requests)
    for index, reply in _replies(engine, asked, max_tokens):
        request, text, stop = asked[index], reply.text, None
        if not reply.whole:
            text, stop = _cut(text.rpartition(" ")[0])
        if not text.strip():
            yield request, None
            continue
        yield (
            request,
            Probe(
                id=f"reply/{request}",
                item=request,
                category="reply",
                split=requests[request],
                answers=(text,),
                messages=(Message("user", request),),
                stop=stop,
            ),
        )


def _cut(text: str) -> tuple[str, str]:
    """A text before its last words, and as many of these as are not found in what is before them."""
    head, _, word = text.rpartition(" ")
    stop = f" {word}"
    while stop in head:
        head, _, word = head.rpartition(" ")
        stop = f" {word}{stop}"
    return head, stop


def _replies(engine: Engine, asked: Sequence[str], max_tokens: int) -> Iterator[tuple[int, Reply]]:
    """The greedy reply to each text, as the one message of a user, with its index."""
    contexts = [_context(engine, text) for text in asked]
    return engine.replies(contexts, [()] * len(contexts), max_tokens)


def _context(engine: Engine, asked: str) -> list[int]:
    text = render_chat(engine.tokenizer, [{"role": "user", "content": asked}])
    return engine.tokenizer(text, add_special_tokens=False)["input_ids"]
