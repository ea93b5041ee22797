"""Whether a model solves probes: one with a grader by what the model writes, the others by their score."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from bankai.evaluation.engine import Engine, Reply
from bankai.evaluation.report import Result
from bankai.probes.encode import EncodedAnswer, context_ids, encode_answer
from bankai.probes.graders import Exact, parse_grader
from bankai.probes.probe import Probe
from bankai.steps import StepListener, ignore_steps

__all__ = [
    "GRADED_TOKENS",
    "REPLY_TOKENS",
    "Written",
    "draw_right",
    "graded_by",
    "results",
    "up_to_stop",
    "write",
]

REPLY_TOKENS = 48
"""The most tokens that are read of a reply that is no answer, to show it or to look for an answer in it."""
GRADED_TOKENS = 128
"""The most tokens that are read of a reply to grade."""
TEMPERATURE = 0.8  # of the samples: replies that are likely, but not the same one every time


@dataclass(frozen=True, slots=True)
class Written:
    """What the model wrote for a probe, up to its stop; `whole` when it came to the stop or ended its text."""

    text: str
    whole: bool
    solved: bool


def results(
    engine: Engine,
    probes: Sequence[Probe],
    *,
    max_tokens: int = GRADED_TOKENS,
    listen: StepListener = ignore_steps,
) -> list[Result]:
    """One result per probe, in their order. Raises what encoding raises."""
    graded = [probe for probe in probes if probe.grade is not None]
    scored = iter(engine.score([probe for probe in probes if probe.grade is None], listen))
    written = iter(write(engine, graded, max_tokens=max_tokens, listen=listen))
    return [next(scored) if probe.grade is None else next(written) for probe in probes]


def write(
    engine: Engine,
    probes: Sequence[Probe],
    *,
    max_tokens: int | None = None,
    listen: StepListener = ignore_steps,
) -> list[Written]:
    """The greedy reply to each probe, judged by its grader; without one it has to be an answer, letter for letter.

    `max_tokens` None: as many as a grader reads and as the longest answer has.
    """
    if max_tokens is None:
        max_tokens = _enough(engine, probes)
    contexts = [context_ids(probe, engine.tokenizer) for probe in probes]
    replies = engine.replies(contexts, [_stops(probe) for probe in probes], max_tokens)
    found: dict[int, Written] = {}
    for index, reply in replies:
        found[index] = _judged(probes[index], reply)
        listen("reading replies", len(found), len(probes))
    return [found[index] for index in range(len(probes))]


def draw_right(
    engine: Engine,
    probes: Sequence[Probe],
    count: int,
    *,
    max_tokens: int = GRADED_TOKENS,
    seed: int = 0,
    listen: StepListener = ignore_steps,
) -> dict[str, str]:
    """By the id of a probe: of `count` replies drawn at random the likeliest that its grader accepts, if there is one.

    Only replies that end by themselves count.
    """
    drawn = [probe for probe in probes for _ in range(count)]
    contexts = [context_ids(probe, engine.tokenizer) for probe in drawn]
    stops = [_stops(probe) for probe in drawn]
    replies = engine.replies(contexts, stops, max_tokens, temperature=TEMPERATURE, seed=seed)
    right: dict[tuple[str, str], EncodedAnswer] = {}
    for done, (index, reply) in enumerate(replies, start=1):
        probe = drawn[index]
        if reply.whole and reply.text.strip() and _judged(probe, reply).solved:
            right[probe.id, reply.text] = encode_answer(probe, reply.text, engine.tokenizer)
        listen("drawing replies", done, len(drawn))
    return _likeliest(engine, right)


def _likeliest(engine: Engine, right: Mapping[tuple[str, str], EncodedAnswer]) -> dict[str, str]:
    """Of the texts of each probe, given by its id and the text, the one of the largest score."""
    scores = {index: trace.score for index, trace in engine.traces([*right.values()])}
    best: dict[str, tuple[float, str]] = {}
    for index, (name, text) in enumerate(right):
        best[name] = max(best.get(name, (-math.inf, "")), (scores[index], text))
    return {name: text for name, (_, text) in best.items()}


def graded_by(grade: str | None, probes: Iterable[Probe]) -> Iterator[Probe]:
    """The probes with the grader that a text spells, for their answers; as they are without one.

    Raises ProbeFormatError for a text that spells none, or none for these answers.
    """
    for probe in probes:
        yield (
            probe
            if grade is None
            else msgspec.structs.replace(probe, grade=parse_grader(grade, probe.answers))
        )


def up_to_stop(reply: Reply, probe: Probe) -> Reply:
    """What counts as the reply to a probe, of a text that goes on past its stop."""
    if probe.stop is None:
        return reply
    text, stop, _ = reply.text.partition(probe.stop)
    return Reply(text, reply.whole or bool(stop))


def _enough(engine: Engine, probes: Sequence[Probe]) -> int:
    lengths = [
        len(encode_answer(probe, text, engine.tokenizer).answer) for probe in probes for text in probe.answers
    ]
    least = GRADED_TOKENS if any(probe.grade is not None for probe in probes) else REPLY_TOKENS
    return max([least, *lengths])


def _judged(probe: Probe, reply: Reply) -> Written:
    grader = probe.grade or Exact(probe.answers)
    return Written(reply.text, reply.whole, grader.accepts(reply.text))


def _stops(probe: Probe) -> tuple[str, ...]:
    return () if probe.stop is None else (probe.stop,)
