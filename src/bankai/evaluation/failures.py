"""From what a model gets right and wrong to a probe set: failures become targets, passes become controls.

In order: :func:`spell` finds the sound spellings of every answer, a model reads them (`evaluation.engine`),
:func:`judge` tells passes from failures, :func:`assign` gives each item its split, and :func:`place` puts a target's
answer where the model first goes wrong. A pass is what *solved* is elsewhere: greedy decoding emits an accepted answer
and its stop. What a model computed is given.
"""

import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
from transformers import PreTrainedTokenizerBase

from bankai.errors import ProbeFormatError
from bankai.evaluation.audit import audit
from bankai.evaluation.engine import Trace
from bankai.probes.encode import EncodedAnswer, context_ids, context_text, encode_answer
from bankai.probes.probe import Probe, Split

__all__ = [
    "FAILED_SHARES",
    "PASSED_SHARES",
    "Dropped",
    "Judged",
    "Spelling",
    "assign",
    "judge",
    "place",
    "spell",
]

FAILED_SHARES: Mapping[Split, int] = {"target": 50, "validation": 20, "heldout": 30}
PASSED_SHARES: Mapping[Split, int] = {"control": 60, "unseen": 40}


class Dropped(msgspec.Struct, frozen=True):
    """A row that is not in the set, and why; ``kind`` is an audit's, or ``mixed``."""

    id: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Spelling:
    """One way to write the answer number ``answer`` of a probe."""

    answer: int
    text: str
    encoded: EncodedAnswer


@dataclass(frozen=True, slots=True)
class Judged:
    """A probe whose answers are spelled as the model would, in their order, and what became of each.

    `accepted`: what a grader says of the model's reply; None where there is no grader.
    """

    probe: Probe
    encoded: tuple[EncodedAnswer, ...]
    traces: tuple[Trace, ...]
    accepted: bool | None = None

    @property
    def solved(self) -> bool:
        return any(trace.solved for trace in self.traces) if self.accepted is None else self.accepted

    def graded(self, accepted: bool) -> "Judged":
        return replace(self, accepted=accepted)


def spell(probe: Probe, tokenizer: PreTrainedTokenizerBase, longest: int) -> list[Spelling] | Dropped:
    """The sound spellings of the answers: as given, and with a space before it where the prompt lacks one.

    Sound is what the audit calls so and has at most ``longest`` tokens. Dropped when nothing is sound, with the
    first reason; none of a probe without answers. Raises UnsupportedModelError when a chat cannot be rendered.
    """
    if not probe.answers:
        return []
    blank = context_text(probe, tokenizer)[-1:] in (" ", "\t")
    spelled = [
        _spelling(probe, index, text, tokenizer, longest)
        for index, answer in enumerate(probe.answers)
        for text in ((answer,) if blank or answer[0].isspace() else (answer, f" {answer}"))
    ]
    found = [spelling for spelling in spelled if isinstance(spelling, Spelling)]
    return found or next(reason for reason in spelled if isinstance(reason, Dropped))


def _spelling(
    probe: Probe, index: int, text: str, tokenizer: PreTrainedTokenizerBase, longest: int
) -> Spelling | Dropped:
    alone = msgspec.structs.replace(probe, answers=(text,))
    try:
        errors = [finding for finding in audit(None, tokenizer, [alone]) if finding.severity == "error"]
        encoded = encode_answer(alone, text, tokenizer)
    except ProbeFormatError as error:
        return Dropped(probe.id, "unreachable", str(error))
    if errors:
        return Dropped(probe.id, errors[0].kind, errors[0].message)
    if (length := len(encoded.ids)) > longest:
        return Dropped(
            probe.id, "too-long", f"{length} tokens, but the model reads {longest}; shorten the prompt"
        )
    return Spelling(index, text, encoded)


def judge(probe: Probe, spellings: Sequence[Spelling], traces: Sequence[Trace]) -> Judged:
    """Of each answer the spelling that the model emits, else the more probable one."""
    best: dict[int, tuple[Spelling, Trace]] = {}
    for spelling, trace in zip(spellings, traces, strict=True):
        held = best.get(spelling.answer)
        if held is None or (trace.solved, trace.score) > (held[1].solved, held[1].score):
            best[spelling.answer] = spelling, trace
    kept = {spelling.text: (spelling, trace) for spelling, trace in best.values()}
    return Judged(
        msgspec.structs.replace(probe, answers=tuple(kept)),
        tuple(spelling.encoded for spelling, _ in kept.values()),
        tuple(trace for _, trace in kept.values()),
    )


def place(judged: Judged, tokenizer: PreTrainedTokenizerBase) -> Probe:
    """The failing probe with what the model gets right as its prefix: the answer begins where it goes wrong.

    Of several answers the one counts that the model follows furthest; those that begin otherwise are left out. The
    cut is at a border of tokens that the prefix has alone too. It is never after a whole answer: one that fails
    only at its stop keeps its last token; nor after a blank, which the audit wants at the answer.
    """
    heads = [
        (_head(judged, index, tokenizer), trace.score, index) for index, trace in enumerate(judged.traces)
    ]
    head, _, chosen = max(heads, key=lambda found: (len(found[0]), found[1]))
    if not head:
        return judged.probe
    probe, answers = judged.probe, judged.probe.answers
    placed = msgspec.structs.replace(
        probe, prefix=probe.prefix + head, answers=(answers[chosen][len(head) :],)
    )
    context = context_ids(placed, tokenizer)
    rests = [answer[len(head) :] for answer in answers if answer.startswith(head)]
    sound = [rest for rest in rests if encode_answer(placed, rest, tokenizer).context == context]
    return msgspec.structs.replace(placed, answers=tuple(sound))


def _head(judged: Judged, index: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """The longest beginning of an answer that the model emits and that can stand before the rest."""
    probe, encoded = judged.probe, judged.encoded[index]
    for count in range(judged.traces[index].agreed, 0, -1):
        head = tokenizer.decode(encoded.answer[:count], skip_special_tokens=False)
        if head in probe.answers or not probe.answers[index].startswith(head):
            continue  # the whole of an answer, with its stop, or half a character
        if head[-1].isspace() and head[-1] != "\n":
            continue
        before = msgspec.structs.replace(probe, prefix=probe.prefix + head)
        if context_ids(before, tokenizer) == encoded.ids[: encoded.answer_start + count]:
            return head
    return ""


def assign(
    judged: Sequence[Judged],
    *,
    failed: Mapping[Split, int] = FAILED_SHARES,
    passed: Mapping[Split, int] = PASSED_SHARES,
    unknown: Collection[str] = (),
    seed: int = 0,
) -> list[Split | None]:
    """A split for every probe, by item, in given shares of the items of each category and of all.

    An item with a failure is a failing item; its passes have no place on that side and get None. Failing items that
    are `unknown` are in no share but in the split of that name.
    """
    categories: dict[str, str] = {}
    failing: set[str] = set()
    for case in judged:
        categories.setdefault(case.probe.item, case.probe.category)
        if not case.solved:
            failing.add(case.probe.item)
    rng = random.Random(seed)
    known = [item for item in categories if item in failing and item not in unknown]
    of_failing = _shared_out(known, categories, failed, rng)
    of_passing = _shared_out([item for item in categories if item not in failing], categories, passed, rng)
    return [
        of_passing.get(case.probe.item) if case.solved else of_failing.get(case.probe.item, "unknown")
        for case in judged
    ]


def _shared_out(
    items: Sequence[str], categories: Mapping[str, str], shares: Mapping[Split, int], rng: random.Random
) -> dict[str, Split]:
    """Category after category, the items of each in random order, each goes where most is owed.

    So every run of items, a category too, gets nearly its shares.
    """
    by_category: dict[str, list[str]] = defaultdict(list)
    for item in rng.sample(items, len(items)):
        by_category[categories[item]].append(item)
    given = dict.fromkeys(shares, 0)
    splits: dict[str, Split] = {}
    for count, item in enumerate(
        (item for name in sorted(by_category) for item in by_category[name]), start=1
    ):
        owed = {split: shares[split] * count - 100 * given[split] for split in shares}
        splits[item] = max(owed, key=owed.__getitem__)
        given[splits[item]] += 1
    return splits
