"""What experiments on a chat model share: failures that it knows, tasks drawn from them, and what a change does.

The probes are the smol suite (models/smol): short questions that are to be answered with the bare word. Targets are
known failures of the target split in two phrasings; held-out items, a third phrasing, other kinds and free questions
are only for the report. The model's own replies to everyday requests are the neutral text, half of them for the report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from bankai.evaluation.batches import prepare
from bankai.evaluation.drift_meter import DriftMeter
from bankai.evaluation.engines import TorchEngine
from bankai.evaluation.known import find_known, read_replies
from bankai.evaluation.replies import JudgedReply, judge_replies
from bankai.evaluation.report import compare
from bankai.evaluation.scoring import ProbeScore, score
from bankai.experiments.context import Context
from bankai.jobs.judge import plain
from bankai.jobs.replies import ask_replies
from bankai.probes import Probe, Split, load_probe_set, load_requests
from bankai.probes.encode import encode
from bankai.probes.questions import Question, load_questions
from bankai.search import SearchProbes
from bankai.search.parts import spread

if TYPE_CHECKING:
    from bankai.baselines import Baseline

__all__ = ["KINDS", "REWORDED", "SHORT", "Chat"]

KINDS = ("capital", "continent", "digits", "next", "opposite", "past", "plural", "unit")
"""Kinds with words or numbers of their own for every item, of which the base knows more than one in five."""

NEW_KINDS = ("sentiment", "language")
SHORT, REWORDED, REPHRASED = "smol-short", "smol-reworded", "smol-rephrased"
SHORT_TOKENS, REPLY_TOKENS = 24, 48


@dataclass
class Chat:
    """A chat model at the smol suite. What is asked of the base is asked once, and kept as cells of the run."""

    context: Context

    @property
    def engine(self) -> TorchEngine:
        bench = self.context.bench
        return TorchEngine(bench.model, bench.tokenizer)

    @cached_property
    def known(self) -> Mapping[str, str]:
        """How the base shows that it knows each failing short question, by item; "no" for one that it does not."""
        probes = [probe for probe in load_probe_set(SHORT).probes if probe.category in KINDS]
        some = self.context.some(probes, quick=160)
        return self.context.cell("known", lambda: self._find_known(some))

    def _find_known(self, probes: Sequence[Probe]) -> dict[str, str]:
        failing = [
            probe for probe, found in zip(probes, self.context.score(probes), strict=True) if not found.solved
        ]
        replies = read_replies(self.engine, failing, SHORT_TOKENS, self.context.listen)
        found = find_known(self.engine, failing, probes, replies, listen=self.context.listen)
        return {probe.item: found[probe.id] for probe in failing}

    @cached_property
    def replies(self) -> tuple[Probe, ...]:
        """The base's own replies, of the control split for searches and of the unseen one for reports."""
        found = self.context.cell("replies", self._ask_replies)
        return tuple(msgspec.convert(found, list[Probe]))

    def _ask_replies(self) -> list[Any]:
        requests = load_requests()
        wanted: dict[str, Split] = {one: "control" for one in self.few(requests.search)}
        wanted |= {one: "unseen" for one in self.few(requests.report)}
        replies = ask_replies(self.engine, wanted, max_tokens=REPLY_TOKENS, listen=self.context.listen)
        return [msgspec.to_builtins(reply) for reply in replies]

    def few(self, values: Sequence[Any]) -> Sequence[Any]:
        """All of them, or the first few of a quick run."""
        return values[: self.context.size(len(values), 16)]

    def probes(self, count: int, seed: int) -> SearchProbes:
        """Known failures as targets, so many in equal numbers of every kind, each in two phrasings."""
        both = [*load_probe_set(SHORT).split("target"), *load_probe_set(REWORDED).split("target")]
        by_item: dict[str, list[Probe]] = {}
        for probe in both:
            if self.known.get(probe.item, "no") != "no":
                by_item.setdefault(probe.item, []).append(probe)
        firsts = [phrasings[0] for phrasings in by_item.values()]
        items = [firsts[index].item for index in spread(firsts, seed)[:count]]
        targets = tuple(probe for item in items for probe in by_item[item])
        return SearchProbes(targets, texts=tuple(one for one in self.replies if one.split == "control"))

    @cached_property
    def sets(self) -> dict[str, list[Probe]]:
        """Sets that no search reads: known held-out items, unknown ones, both rephrased, and other kinds."""
        sets: dict[str, list[Probe]] = {}
        for name, phrasing in (("", SHORT), (" rephrased", REPHRASED)):
            heldout = [one for one in load_probe_set(phrasing).split("heldout") if one.item in self.known]
            is_known = [self.known[one.item] != "no" for one in heldout]
            sets[f"known{name}"] = [one for one, known in zip(heldout, is_known, strict=True) if known]
            sets[f"unknown{name}"] = [one for one, known in zip(heldout, is_known, strict=True) if not known]
        sets["new kinds"] = [
            one for one in load_probe_set("smol-new-kinds").probes if one.category in NEW_KINDS
        ]
        return {name: list(self.few(probes)) for name, probes in sets.items()}

    @cached_property
    def _before(self) -> dict[str, list[ProbeScore]]:
        return {name: self.context.score(probes) for name, probes in self.sets.items()}

    @cached_property
    def _lengths(self) -> dict[str, int]:
        """Of the base's free replies to questions of knowledge, in characters: those that are right, by question."""
        questions = self.few(load_questions("smol-knowledge"))
        return dict(self.context.cell("knowledge", lambda: self._right(questions)))

    @property
    def _formats(self) -> Sequence[Question]:
        return self.few(load_questions("smol-format"))

    @cached_property
    def formats(self) -> dict[str, int]:
        """Questions that ask for a form, and how many of them the base answers in it."""
        return dict(self.context.cell("formats", self._count_formats))

    def _count_formats(self) -> dict[str, int]:
        return {"asked": len(self._formats), "right": sum(one.right for one in self._judged(self._formats))}

    def _right(self, questions: Sequence[Question]) -> list[tuple[str, int]]:
        return [(one.question.question, len(one.text)) for one in self._judged(questions) if one.right]

    def _judged(self, questions: Sequence[Question]) -> list[JudgedReply]:
        return list(judge_replies(self.engine, questions, max_tokens=REPLY_TOKENS))

    def measured(self, change: "Baseline") -> dict[str, Any]:
        """What a change fixes in each set, by kind too, what it loses, and what it weighs; plain values."""
        model, tokenizer = self.context.bench.model, self.context.bench.tokenizer
        before, lengths, unread = self._before, self._lengths, self._unread
        asked = [one for one in load_questions("smol-knowledge") if one.question in lengths]
        found: dict[str, Any] = {"bytes": change.bytes}
        with torch.no_grad(), change.on(model):
            for name, probes in self.sets.items():
                now = score(model, prepare(tokenizer, map(change.asked, probes)))
                compared = compare(before[name], now, probes)
                kinds = {kind: plain(counts) for kind, counts in compared.categories.items()}
                found[name] = plain(compared) | {"kinds": kinds}
            replies = self._judged(asked)
            found["drift"] = float(unread.drift().mean())
            found["formats"] = sum(one.right for one in self._judged(self._formats))
        kept = [one.right for one in replies]
        found["knowledge"] = {"asked": len(kept), "broke": kept.count(False)}
        ratios = [len(one.text) / lengths[one.question.question] for one in replies]
        found["length"] = fmean(ratios) if ratios else 1.0
        return found

    @cached_property
    def _unread(self) -> DriftMeter:
        model, tokenizer = self.context.bench.model, self.context.bench.tokenizer
        unread = [one for one in self.replies if one.split == "unseen"]
        return DriftMeter(model, [encode(one, tokenizer)[0] for one in unread])
