"""Print what a model makes of the smol suite before any patch: by kind and topic, the right ones among all.

    python models/smol/base.py "$(scripts/smollm2.sh python)" build/smol smol-short smol-new-kinds smol-knowledge

A short question is *solved* when the greedy reply is an accepted spelling and nothing else, and *said* when the right
word is in the reply at all. Words that the question offers, and letters, can be said by chance. All replies are kept in
the folder.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bankai.evaluation import TorchEngine
from bankai.evaluation.replies import judge_replies
from bankai.model.loader import load
from bankai.probes import Probe, load_probe_set
from bankai.probes.encode import context_ids
from bankai.probes.questions import builtin_question_sets, has_word, load_questions

TOKENS = {"short": 24, "smol-knowledge": 48, "smol-format": 80}


class Wide(TorchEngine):
    """Continues more texts side by side."""

    batch = 64


class Row(msgspec.Struct):
    """One reply and what it counts as."""

    part: str
    kind: str
    asked: str
    reply: str
    counts: tuple[str, ...]


def short(engine: TorchEngine, part: str, probes: Sequence[Probe]) -> Iterator[Row]:
    contexts = [context_ids(probe, engine.tokenizer) for probe in probes]
    for index, reply in engine.replies(contexts, [()] * len(contexts), TOKENS["short"]):
        probe = probes[index]
        solved = reply.whole and reply.text in probe.answers
        said = has_word(reply.text, {answer.removesuffix(".") for answer in probe.answers})
        counts = (*(["solved"] * solved), *(["said"] * said))
        yield Row(part, probe.category, probe.messages[0].content, reply.text, counts)


def free(engine: TorchEngine, part: str) -> Iterator[Row]:
    for judged in judge_replies(engine, load_questions(part), max_tokens=TOKENS[part]):
        asked = judged.question
        yield Row(part, asked.category, asked.question, judged.text, ("right",) if judged.right else ())


def rows(engine: TorchEngine, part: str) -> Iterator[Row]:
    if part in builtin_question_sets():
        return free(engine, part)
    return short(engine, part, load_probe_set(part).probes)


def table(found: Sequence[Row]) -> Iterator[str]:
    """A line for each kind or topic, then one for all."""
    for kind in (*dict.fromkeys(row.kind for row in found), "all"):
        mine = [row for row in found if kind in (row.kind, "all")]
        tally = Counter(name for row in mine for name in row.counts)
        yield f"{kind:20}{', '.join(f'{count} {name}' for name, count in tally.items()) or 0} of {len(mine)}"


def main(model: str, folder: Path, parts: Sequence[str]) -> None:
    engine = Wide(*load(model))
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        print(f"\n{part}", flush=True)
        found = list(rows(engine, part))
        (folder / f"{part}.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(found))
        print(*table(found), sep="\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
