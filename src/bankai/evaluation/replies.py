"""Free replies to questions, and which of them are right: what a model still knows, and which forms it keeps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bankai.evaluation.engine import Engine
from bankai.model.chat import render_chat
from bankai.probes.questions import Question

__all__ = ["JudgedReply", "judge_replies"]


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
    contexts = [_context(engine, question) for question in questions]
    for index, reply in engine.replies(contexts, [()] * len(contexts), max_tokens):
        yield JudgedReply(questions[index], reply.text, reply.whole)


def _context(engine: Engine, question: Question) -> list[int]:
    text = render_chat(engine.tokenizer, [{"role": "user", "content": question.question}])
    return engine.tokenizer(text, add_special_tokens=False)["input_ids"]
