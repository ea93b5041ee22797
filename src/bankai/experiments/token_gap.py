"""The published metric beside whole answers: the same loop, once on gaps between two tokens, once on answers.

The token gap of a probe is the logit of the last token of the right answer less that of the distractor's, both where
the answer begins (announcement of 2 April 2026; its later record calls it defective). What either loop finds is judged
by gaps and by answers: how far do gaps tell what the model says?
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bankai.evaluation.batches import Prepared, prepare_encoded
from bankai.evaluation.report import Counts
from bankai.evaluation.scoring import score_tensors
from bankai.experiments.context import Context
from bankai.experiments.outcomes import gain_claim, mean_claim, net, over, told
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table
from bankai.jobs.judge import Judge, plain
from bankai.model import patched
from bankai.patch import Flip, Patch
from bankai.probes import Probe
from bankai.probes.encode import EncodedAnswer, context_text, encode_answer
from bankai.search import Problem, SearchProbes, SearchSettings
from bankai.search.budget import Budget
from bankai.search.objective import Readings
from bankai.search.parts import spread
from bankai.search.state import State
from bankai.search.trials import greedy

__all__ = ["EXPERIMENT", "GapProblem", "TokenGaps", "claims", "plots", "run", "tables"]

PARTS = ("targets", "heldout")
GAPS, ANSWERS = "token gaps", "whole answers"


def run(context: Context) -> dict[str, Any]:
    heldout = context.some(context.load("broad").split("heldout"))
    seeds = []
    for at, seed in enumerate(context.seeds):
        task, settings = context.usual_task(seed), context.published_loop(seed)
        judged = {"targets": task.searched.targets, "heldout": heldout}
        judge = Judge(context.bench, judged)
        gaps = {name: TokenGaps(context, probes) for name, probes in judged.items()}
        found = {}
        for name, flips in (
            (GAPS, _climb(context, task.searched, settings)),
            (ANSWERS, context.search(task, settings).flips),
        ):
            by_gap = {part: gaps[part].changed(flips) for part in PARTS}
            found[name] = {"flips": len(flips), "by gaps": by_gap, "by answers": judge(flips)}
        seeds.append({"seed": seed, "found": found})
        context.listen("token gaps", at + 1, len(context.seeds))
    return {"seeds": seeds}


class TokenGaps:
    """Token gaps of some probes, encoded once and measured once on the base, which must be on when this is made."""

    def __init__(self, context: Context, probes: Sequence[Probe]) -> None:
        self.bench = context.bench
        self._pairs = [_pair(probe, self.bench.tokenizer) for probe in probes]
        self._all = self._prepare(range(len(probes)))
        self.base = self()

    def __call__(self, some: Sequence[int] | None = None) -> Tensor:
        """Gaps in nats under the bits as they are, of all probes or those with these indices: [probes]."""
        prepared = self._all if some is None else self._prepare(some)
        with torch.no_grad():
            right, wrong = score_tensors(self.bench.model, prepared)[0].cpu().view(-1, 2).T
        return right - wrong

    def changed(self, flips: Iterable[Flip]) -> dict[str, Any]:
        """Gaps that flips turn to the right answer and away from it; see `bankai.jobs.judge.plain`."""
        with patched(self.bench.model, Patch(frozenset(flips)), unbound=True):
            return plain(Counts.of((self.base > 0).tolist(), (self() > 0).tolist()))

    def _prepare(self, some: Iterable[int]) -> Prepared:
        return prepare_encoded([[token] for index in some for token in self._pairs[index]])


def _pair(probe: Probe, tokenizer: PreTrainedTokenizerBase) -> list[EncodedAnswer]:
    """The last token of the right answer and that of the distractor, each right after the prompt."""
    text, context = context_text(probe, tokenizer), encode_answer(probe, probe.answers[0], tokenizer).context
    answers = (probe.answers[0], probe.distractor or "")
    last = [tokenizer(f"{text}{answer}", add_special_tokens=False)["input_ids"][-1] for answer in answers]
    return [EncodedAnswer((*context, token), len(context)) for token in last]


class GapProblem(Problem):
    """What the published loop works on: gaps of the targets. Controls have no wrong answer and keep their scores."""

    def __init__(self, context: Context, probes: SearchProbes, settings: SearchSettings) -> None:
        ordered = [probes.targets[index] for index in spread(probes.targets)]  # as the parts have them
        self._gaps = TokenGaps(context, ordered)
        super().__init__(context.bench.model, context.bench.tokenizer, probes, settings)

    def read_plainly(self) -> Readings:
        """With gaps for the scores and the margins of the targets."""
        gaps = self._gaps()
        return replace(super().read_plainly(), targets=gaps, target_margins=gaps)

    def score_some_targets(self, targets: Iterable[int]) -> Tensor:
        """Gaps of the targets with these indices under the current bits; costs their share of an evaluation."""
        some = list(targets)
        self.evaluations += len(some) / self.reads
        return self._gaps(some)


def _climb(context: Context, probes: SearchProbes, settings: SearchSettings) -> frozenset[Flip]:
    """What the loop finds when it reads gaps."""
    state, budget = State(), Budget(settings.budget or 0)
    with GapProblem(context, probes, settings) as problem:
        while not state.reason:
            for _ in greedy(problem, state, budget):
                pass
    return frozenset(state.best.flips)


def _gains(result: Result, name: str, by: str, part: str = "heldout") -> list[float]:
    return [net(seed["found"][name][by][part]) for seed in result["seeds"]]


def _found(result: Result, name: str, by: str, part: str) -> list[Any]:
    return [seed["found"][name][by][part] for seed in result["seeds"]]


def claims(result: Result) -> list[Claim]:
    by_gaps, by_answers = (_gains(result, GAPS, by) for by in ("by gaps", "by answers"))
    whole = _gains(result, ANSWERS, "by answers")
    return [
        mean_claim(
            "Token gaps promise more than the model says: held-out net gain by gaps less that by answers, points",
            "first 13 to 17 of 30, corrected to 2 fixed, 3 broke: 17 points",
            [promised - said for promised, said in zip(by_gaps, by_answers, strict=True)],
            " points",
            above=0.0,
        ),
        gain_claim(
            "A patch searched by token gaps fixes more held-out answers than it breaks",
            "2 fixed, 3 broke of 30",
            _found(result, GAPS, "by answers", "heldout"),
            gains=True,
        ),
        mean_claim(
            "The same loop on whole answers does better on held-out answers, points",
            "78 flips: 5 fixed, 0 broke of 30; by gaps 2 fixed, 3 broke: 20 points",
            [ours - theirs for ours, theirs in zip(whole, by_answers, strict=True)],
            " points",
            above=0.0,
        ),
    ]


def tables(result: Result) -> list[Table]:
    rows = [
        [
            f"{name}, {by}",
            over([seed["found"][name]["flips"] for seed in result["seeds"]], 0),
            *(cell for part in PARTS for cell in told(_found(result, name, by, part))),
        ]
        for name in (GAPS, ANSWERS)
        for by in ("by gaps", "by answers")
    ]
    columns = ["searched by, judged", "flips"]
    columns += [f"{part} {what} %" for part in ("targets", "held-out") for what in ("fixed", "broken")]
    note = (
        "The published loop on the same targets and controls. Judged by gaps, a probe is right when the last token of "
        "its answer beats that of the distractor where the answer begins; by answers, when the whole answer is said."
    )
    return [Table("What each metric finds, and what each sees", columns, rows, note)]


def plots(result: Result) -> list[Plot]:
    series = []
    for by in ("by gaps", "by answers"):
        values = [_gains(result, name, by) for name in (GAPS, ANSWERS)]
        ends = ([of(one) for one in values] for of in (fmean, min, max))
        series.append(Series(f"judged {by}", [f"searched by {name}" for name in (GAPS, ANSWERS)], *ends))
    return [Plot("Held-out net gain: mean and range over the seeds", "", "fixed less broken, %", series)]


EXPERIMENT = Experiment(run, claims, tables, plots)
