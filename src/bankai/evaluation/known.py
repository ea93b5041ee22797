"""Known or unknown: whether a model that fails a probe gives the right answer another way.

A failure is known when the model names an accepted answer as a whole word in a longer reply of its own, read past the
stop, or when it solves the probe right after three solved examples of the same category. Only such failures can be
elicited; a patch for the others memorizes. Both ways can err. A reply may name the answer by chance. In a kind with few
answers, such as yes and no, a model that always says the same is right after the examples, too. And a model may know
what neither shows, as nano does, which cannot follow examples.
"""

import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bankai.evaluation.engine import Engine, Reply, Trace
from bankai.evaluation.failures import Dropped, spell
from bankai.evaluation.grading import REPLY_TOKENS
from bankai.probes.encode import context_ids
from bankai.probes.examples import with_examples
from bankai.probes.probe import Known, Probe
from bankai.probes.words import has_word, normalized
from bankai.steps import StepListener, ignore_steps

__all__ = [
    "EXAMPLES",
    "REPLY_TOKENS",
    "Knowledge",
    "KnowledgeReport",
    "by_item",
    "choose_examples",
    "count_known",
    "find_known",
    "names_answer",
    "read_replies",
]

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Knowledge:
    """How many of the failures are known: by the model's own reply, by examples, or by replies that were drawn."""

    failed: int
    known: int
    reply: int
    examples: int
    samples: int

    @classmethod
    def of(cls, found: Sequence[Known]) -> "Knowledge":
        reply, examples, samples = map(found.count, ("reply", "examples", "samples"))
        return cls(len(found), reply + examples + samples, reply, examples, samples)


@dataclass(frozen=True, slots=True)
class KnowledgeReport(Knowledge):
    """All failures, then by category."""

    categories: dict[str, Knowledge]


def read_replies(
    engine: Engine, probes: Sequence[Probe], max_tokens: int, listen: StepListener = ignore_steps
) -> dict[str, Reply]:
    """What the model says by itself, by the probe's id, past the probe's stop; with no tokens nothing is read."""
    if not max_tokens:
        return {}
    contexts = [context_ids(probe, engine.tokenizer) for probe in probes]
    replies: dict[str, Reply] = {}
    for index, reply in engine.replies(contexts, [()] * len(contexts), max_tokens):
        replies[probes[index].id] = reply
        listen("reading failures", len(replies), len(probes))
    return replies


def find_known(
    engine: Engine,
    failing: Sequence[Probe],
    others: Sequence[Probe],
    replies: Mapping[str, Reply],
    *,
    seed: int = 0,
    listen: StepListener = ignore_steps,
) -> dict[str, Known]:
    """How the model shows that it knows each failing probe, by id.

    `replies` are those of :func:`read_replies`; what they do not name is asked after examples from `others`, in an
    order by `seed`. Raises what encoding raises.
    """
    found: dict[str, Known] = {}
    asked = []
    by_kind = _by_kind(probe for probe in random.Random(seed).sample(others, len(others)) if probe.answers)
    for probe in failing:
        reply = replies.get(probe.id)
        found[probe.id] = "reply" if reply is not None and names_answer(probe, reply.text) else "no"
        if found[probe.id] == "no" and (examples := choose_examples(probe, by_kind[_kind(probe)])):
            asked.append(with_examples(probe, examples))
    for probe_id in _solved(engine, asked, listen):
        found[probe_id] = "examples"
    return found


def names_answer(probe: Probe, reply: str) -> bool:
    """Whether a reply holds an accepted answer as a whole word, in any case.

    An answer that the question itself names does not count, as the reply may only repeat the question. A prefix that
    ends inside a word is read with what follows it.
    """
    begun, question = _begun(probe), probe.asked
    words = filter(None, (_word(f"{begun}{answer}") for answer in probe.answers))
    return any(has_word(f"{begun}{reply}", [word]) and not has_word(question, [word]) for word in words)


def choose_examples(probe: Probe, others: Iterable[Probe]) -> list[Probe]:
    """The first three of `others` that may stand before a probe: of other items, and none with its answer to copy."""
    answers = _answers(probe)
    chosen: dict[str, Probe] = {}
    for other in others:
        if other.item != probe.item and not answers & _answers(other):
            chosen.setdefault(other.item, other)
        if len(chosen) == EXAMPLES:
            break
    return [*chosen.values()]


def by_item(
    found: Mapping[str, Known], failing: Iterable[Probe], passed_items: Collection[str] = ()
) -> dict[str, Known]:
    """The same, where what one phrasing of an item shows holds for the others too.

    An item that the model passes in another phrasing is known by that reply.
    """
    ways: dict[str, set[Known]] = defaultdict(set)
    ways |= {item: {"reply"} for item in passed_items}
    failing = list(failing)
    for probe in failing:
        ways[probe.item].add(found[probe.id])
    order: tuple[Known, ...] = ("reply", "examples", "samples", "no")
    best = {item: next(way for way in order if way in some) for item, some in ways.items()}
    return {probe.id: best[probe.item] if found[probe.id] == "no" else found[probe.id] for probe in failing}


def count_known(found: Mapping[str, Known], failing: Iterable[Probe]) -> KnowledgeReport:
    """The counts of :func:`find_known`."""
    groups: dict[str, list[Known]] = defaultdict(list)
    for probe in failing:
        groups[probe.category].append(found[probe.id])
    total = Knowledge.of([way for ways in groups.values() for way in ways])
    categories = {name: Knowledge.of(groups[name]) for name in sorted(groups)}
    return KnowledgeReport(total.failed, total.known, total.reply, total.examples, total.samples, categories)


def _solved(engine: Engine, asked: Sequence[Probe], listen: StepListener) -> set[str]:
    """Ids of the probes that greedy decoding solves in one spelling or another; what fits no context is not."""
    owners, answers = [], []
    for probe in asked:
        spelled = spell(probe, engine.tokenizer, engine.context)
        for spelling in () if isinstance(spelled, Dropped) else spelled:
            owners.append(probe.id)
            answers.append(spelling.encoded)
    traces: dict[int, Trace] = {}
    for index, trace in engine.traces(answers):
        traces[index] = trace
        listen("asking after examples", len(traces), len(answers))
    return {owners[index] for index, trace in traces.items() if trace.solved}


_Kind = tuple[str, bool]
"""Category, and whether it is a chat: examples are of the same."""


def _kind(probe: Probe) -> _Kind:
    return probe.category, probe.messages is not None


def _by_kind(probes: Iterable[Probe]) -> dict[_Kind, list[Probe]]:
    groups: dict[_Kind, list[Probe]] = defaultdict(list)
    for probe in probes:
        groups[_kind(probe)].append(probe)
    return groups


def _answers(probe: Probe) -> set[str]:
    return {normalized(f"{probe.prefix}{answer}") for answer in probe.answers}


def _begun(probe: Probe) -> str:
    """The beginning of a word at the end of the prefix, where an answer was cut."""
    found = re.search(r"\S+\Z", probe.prefix)
    return found[0] if found and not any(answer[0].isspace() for answer in probe.answers) else ""


def _word(answer: str) -> str:
    """The answer without its full stop, unless it is nothing else."""
    word = answer.strip()
    return word.rstrip(".!?") or word
