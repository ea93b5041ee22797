"""What a model makes of the rows of a table: which it passes, which it fails, and which of those it knows.

A row without a grader passes when greedy decoding emits an answer and its stop. A row with one passes when the grader
accepts what the model writes; what it is to learn from is then its answers, or a right reply that the model gives when
tokens are drawn. Nothing here prints; progress goes to a listener.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from bankai.evaluation.audit import audit
from bankai.evaluation.engine import Engine, Reply, Trace
from bankai.evaluation.failures import Dropped, Judged, judge, place, spell
from bankai.evaluation.grading import GRADED_TOKENS, Written, draw_right, up_to_stop, write
from bankai.evaluation.known import REPLY_TOKENS, by_item, find_known, read_replies
from bankai.probes import Known, Probe, Split
from bankai.steps import StepListener, ignore_steps

__all__ = ["SAMPLES", "Rows", "read_rows", "with_splits"]

SAMPLES = 4
"""Replies that are drawn to a failing row with a grader."""


@dataclass(frozen=True)
class Rows:
    """Every row is judged or dropped; `replies` and `known` are those of failing rows, by their id."""

    judged: tuple[Judged, ...]
    dropped: tuple[Dropped, ...]
    replies: Mapping[str, Reply]
    known: Mapping[str, Known]

    @property
    def failing(self) -> list[Probe]:
        return [case.probe for case in self.judged if not case.solved]

    @property
    def unknown_items(self) -> set[str]:
        """Those of which no failing row is known."""
        return {probe.item for probe in self.failing if self.known[probe.id] == "no"}


def read_rows(
    engine: Engine,
    probes: Sequence[Probe],
    *,
    reply_tokens: int = REPLY_TOKENS,
    graded_tokens: int = GRADED_TOKENS,
    seed: int = 0,
    listen: StepListener = ignore_steps,
) -> Rows:
    """Run the model on every row. Replies to failing rows without a grader are read for `reply_tokens` tokens.

    Raises what encoding raises.
    """
    graded = [probe for probe in probes if probe.grade is not None]
    written = write(engine, graded, max_tokens=graded_tokens, listen=listen)
    said = {probe.id: one for probe, one in zip(graded, written, strict=True)}
    wrong = [probe for probe in graded if not said[probe.id].solved]
    drawn = draw_right(engine, wrong, SAMPLES, max_tokens=graded_tokens, seed=seed, listen=listen)
    judged, dropped = _judge(engine, [_learning(probe, said, drawn) for probe in probes], said, listen)
    failing = [case.probe for case in judged if not case.solved]
    scored = [probe for probe in failing if probe.grade is None]
    whole = read_replies(engine, scored, reply_tokens, listen)
    whole |= {probe.id: Reply(said[probe.id].text, said[probe.id].whole) for probe in failing if probe.grade}
    every, passed = [case.probe for case in judged], {case.probe.item for case in judged if case.solved}
    found = find_known(engine, scored, every, whole, seed=seed, listen=listen)
    found |= {probe.id: "samples" if probe.id in drawn else "no" for probe in failing if probe.grade}
    replies = {probe.id: up_to_stop(whole[probe.id], probe) for probe in failing if probe.id in whole}
    return Rows(tuple(judged), tuple(dropped), replies, by_item(found, failing, passed))


def with_splits(
    engine: Engine, rows: Rows, splits: Sequence[Split | None]
) -> tuple[list[Probe], list[Dropped]]:
    """The judged rows as the probes of a set, and those that have no place in it; None is no place.

    Only targets are cut to where the model goes wrong: what measures a patch asks for the whole answer, as a grader
    does. What a search reads needs a reply to learn from.
    """
    probes, dropped = [], []
    for case, split in zip(rows.judged, splits, strict=True):
        name = case.probe.id
        if split is None:
            why = "the model passes here and fails another row of the item; that one counts"
            dropped.append(Dropped(name, "mixed", why))
        elif split in ("target", "validation", "control") and not case.probe.answers:
            why = "there is no whole reply to learn from; write a right one in the column reply"
            dropped.append(Dropped(name, "no-reply", why))
        else:
            cut = split == "target" and case.probe.grade is None
            probe = place(case, engine.tokenizer) if cut else case.probe
            wrong = _said(case.probe, probe, rows.replies.get(name))
            probes.append(
                msgspec.structs.replace(probe, split=split, distractor=wrong, known=rows.known.get(name))
            )
    errors = {
        finding.probe_id: Dropped(finding.probe_id, finding.kind, finding.message)
        for finding in audit(None, engine.tokenizer, probes)
        if finding.severity == "error"
    }
    return [probe for probe in probes if probe.id not in errors], [*dropped, *errors.values()]


def _learning(probe: Probe, said: Mapping[str, Written], drawn: Mapping[str, str]) -> Probe:
    """A row with a grader, with what there is to learn from: a right reply as it ended, of its own if none is given."""
    own = said.get(probe.id)
    if own is None:
        return probe
    if own.solved and own.whole and own.text.strip():
        answers: tuple[str, ...] = (own.text,)
    else:
        answers = probe.answers or tuple(filter(None, [drawn.get(probe.id)]))
    return msgspec.structs.replace(probe, answers=answers)


def _judge(
    engine: Engine, probes: Sequence[Probe], said: Mapping[str, Written], listen: StepListener
) -> tuple[list[Judged], list[Dropped]]:
    """What the model makes of every probe with a sound answer or a grader, and the others."""
    answered = [probe for probe in probes if probe.answers]
    spelled = {probe.id: spell(probe, engine.tokenizer, engine.context) for probe in answered}
    dropped = [found for found in spelled.values() if isinstance(found, Dropped)]
    sound = {name: found for name, found in spelled.items() if not isinstance(found, Dropped)}
    answers = [spelling.encoded for found in sound.values() for spelling in found]
    traces: dict[int, Trace] = {}
    for index, trace in engine.traces(answers):
        traces[index] = trace
        listen("reading answers", len(traces), len(answers))
    inorder = (traces[index] for index in range(len(answers)))
    judged = []
    for probe in probes:
        if probe.id in sound:
            found = sound[probe.id]
            case = judge(probe, found, [next(inorder) for _ in found])
        elif probe.id not in spelled:
            case = Judged(probe, (), ())
        else:
            continue
        judged.append(case.graded(said[probe.id].solved) if probe.id in said else case)
    return judged, dropped


def _said(whole: Probe, placed: Probe, reply: Reply | None) -> str | None:
    """What the model says in place of the answer, if there is one and the reply is known to its end."""
    if not whole.answers:
        return None
    head = placed.prefix[len(whole.prefix) :]
    if reply is None or not reply.whole or not reply.text.startswith(head):
        return None
    said = reply.text[len(head) :]
    return None if said in ("", *placed.answers) else said  # the same text in other tokens is no contrast
