"""Exact evaluations per second on `nano`: the batched engine, a plain loop, and the published way.

The same candidates of one flip each and the same probes for all three; repeats in turn, each with fresh candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.architectures.base import ATTENTION
from bankai.evaluation.batches import BATCH_TOKENS
from bankai.evaluation.scoring import score_tensors
from bankai.model import flip, load
from bankai.model.decoder import Decoder
from bankai.probes import Probe
from bankai.probes.encode import EncodedAnswer, encode, encode_answer
from bankai.search import Space
from bankai.search.parts import Part
from benchmarks.draw import small
from benchmarks.measure import Candidates, one_flip_each, ranged, seconds, summary

__all__ = ["BARS", "Published", "Sides", "plainly", "run", "table"]

BARS = {"plain": 2.0, "published": 4.0}
NAMES = {"plain": "the plain loop", "published": "the published way"}
ATTENTION_NAMES = tuple(name.split(".")[1] for name in ATTENTION)


@dataclass(frozen=True)
class _Setting:
    targets: int
    controls: int
    candidates: int  # measured at once; also half as many
    plain: int  # of the candidates of a minor case that the plain loop measures too
    repeats: int


FULL = _Setting(60, 120, 64, 16, 5)
QUICK = _Setting(4, 4, 8, 2, 1)


class Published:
    """The published way to measure a state: the answer and a wrong one of every probe as two full sequences.

    In the order of the probes, padded, logits over all positions. Calling it gives the summed log-probability of the
    first answer less that of the distractor, [probes]; `answers` are the former alone.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, probes: Sequence[Probe]
    ) -> None:
        self.model = model
        pairs = [
            [encode_answer(probe, text, tokenizer) for text in (probe.answers[0], _distractor(probe))]
            for probe in probes
        ]
        self.batches = [_padded(batch) for batch in _in_order([one for pair in pairs for one in pair])]

    @torch.no_grad()
    def __call__(self) -> Tensor:
        found = self._log_probs()
        return found[::2] - found[1::2]

    @torch.no_grad()
    def answers(self) -> Tensor:
        return self._log_probs()[::2]

    def _log_probs(self) -> Tensor:
        """Of every sequence's answer: [2 * probes]."""
        found = []
        for ids, answer in self.batches:
            log_probs = self.model(input_ids=ids, use_cache=False).logits.log_softmax(-1)
            following = log_probs[:, :-1].gather(2, ids[:, 1:, None])[..., 0]  # [sequences, length - 1]
            found.append((following * answer).sum(1))
        return torch.cat(found)


def _distractor(probe: Probe) -> str:
    """Its own, else a wrong answer that is the same for all."""
    return probe.distractor or next(text for text in (" 0", " 1") if text not in probe.answers)


def _in_order(answers: Sequence[EncodedAnswer]) -> list[list[EncodedAnswer]]:
    """Batches of as many padded tokens as those of the other sides, in the order given."""
    batches: list[list[EncodedAnswer]] = [[]]
    for answer in answers:
        longest = max(len(one.ids) for one in (*batches[-1], answer))
        if batches[-1] and longest * (len(batches[-1]) + 1) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(answer)
    return batches


def _padded(answers: Sequence[EncodedAnswer]) -> tuple[Tensor, Tensor]:
    """Ids [sequences, length], and which tokens after the first are of the answer, [sequences, length - 1]."""
    ids = torch.zeros(len(answers), max(len(one.ids) for one in answers), dtype=torch.long)
    read = torch.zeros(len(answers), ids.shape[1] - 1)
    for row, one in enumerate(answers):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        read[row, one.answer_start - 1 : len(one.ids) - 1] = 1
    return ids, read


@torch.no_grad()
def plainly(model: PreTrainedModel, part: Part, candidates: Candidates) -> Tensor:
    """Scores [candidates, probes] by flipping the bits, a full forward of the same batches, and flipping back."""
    found = []
    for candidate in candidates:
        flip(model, candidate)
        found.append(score_tensors(model, part.answers)[0])
        flip(model, candidate)
    return torch.stack(found)


class Sides:
    """The three ways to measure the same candidates on the same probes, and the seconds that each took."""

    def __init__(self, setting: _Setting) -> None:
        self.model, tokenizer = load("nano", dense=True)
        self.decoder = Decoder(self.model)
        searched = small(0, targets=setting.targets, controls=setting.controls).searched
        encoded = [[encode(one, tokenizer) for one in kind] for kind in (searched.targets, searched.controls)]
        self.part = Part(self.decoder, *encoded, [])
        self.published = Published(self.model, tokenizer, (*searched.targets, *searched.controls))
        self.batched(one_flip_each(self.decoder, Space(), 2, 0))  # makes the cached streams

    def batched(self, candidates: Candidates) -> tuple[Tensor, float]:
        readings, took = seconds(lambda: self.part.read(candidates))
        return torch.cat([readings.targets, readings.controls], 1), took

    def plain(self, candidates: Candidates) -> tuple[Tensor, float]:
        return seconds(lambda: plainly(self.model, self.part, candidates))

    def published_way(self, candidates: Candidates) -> float:
        def loop() -> None:
            for candidate in candidates:
                flip(self.model, candidate)
                self.published()
                flip(self.model, candidate)

        return seconds(loop)[1]

    def refreshed(self) -> float:
        """Computing the cached streams of a new state, once for all its candidates."""
        return seconds(lambda: self.part.refresh(0))[1]


def run(quick: bool) -> dict[str, Any]:
    setting = QUICK if quick else FULL
    sides = Sides(setting)
    batches = sides.part.answers.batches
    return {
        "targets": setting.targets,
        "controls": setting.controls,
        "tokens": sum(batch.tokens for batch in batches),
        "tokens_published": sum(ids.numel() for ids, _ in sides.published.batches),
        "candidates": setting.candidates,
        "repeats": setting.repeats,
        "main": _main(sides, setting),
        "cases": _cases(sides, setting),
    }


def _main(sides: Sides, setting: _Setting) -> dict[str, Any]:
    """MLP rows, as many in every layer: all three sides on all candidates."""
    per_second: dict[str, list[float]] = {}
    difference, refresh = 0.0, []
    for repeat in range(setting.repeats):
        candidates = one_flip_each(sides.decoder, Space(), setting.candidates, 1000 + repeat)
        half = len(candidates) // 2
        scores, whole = sides.batched(candidates)
        halves = sum(sides.batched(some)[1] for some in (candidates[:half], candidates[half:]))
        expected, plain = sides.plain(candidates)
        published = sides.published_way(candidates)
        took = {"batched": whole, "batched_half": halves, "plain": plain, "published": published}
        for name, value in took.items():
            per_second.setdefault(name, []).append(len(candidates) / value)
        difference = max(difference, float((scores - expected).abs().max()))
        refresh.append(sides.refreshed())
        print(
            f"  repeat {repeat + 1}: " + ", ".join(f"{key} {value:.2f} s" for key, value in took.items()),
            flush=True,
        )
    return {
        "per_second": {name: summary(values) for name, values in per_second.items()},
        "ratio": _ratios(per_second, "batched"),
        "ratio_half": _ratios(per_second, "batched_half"),
        "largest_difference": difference,
        "refresh_seconds": summary(refresh),
    }


def _ratios(per_second: dict[str, list[float]], side: str) -> dict[str, dict[str, float]]:
    """How often faster that side is than the others, repeat by repeat."""
    rates = per_second[side]
    return {
        name: summary([one / other for one, other in zip(rates, per_second[name], strict=True)])
        for name in BARS
    }


def _cases(sides: Sides, setting: _Setting) -> list[dict[str, Any]]:
    """Other candidates, in turn: the batched engine on all of them, the plain loop on some."""
    spaces = {f"MLP rows of layer {layer}": Space(layers=(layer,)) for layer in range(sides.decoder.layers)}
    spaces["attention rows"] = Space(projections=ATTENTION_NAMES)
    spaces["MLP groups"] = Space(granularity="group")
    spaces["attention groups"] = Space(projections=ATTENTION_NAMES, granularity="group")
    spaces["MLP bits"] = Space(granularity="bit")
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in spaces}
    difference = dict.fromkeys(spaces, 0.0)
    for repeat in range(setting.repeats):
        for name, space in spaces.items():
            candidates = one_flip_each(sides.decoder, space, setting.candidates, 2000 + repeat)
            scores, took = sides.batched(candidates)
            expected, plain = sides.plain(candidates[: setting.plain])
            rates[name].append((len(candidates) / took, setting.plain / plain))
            largest = float((scores[: setting.plain] - expected).abs().max())
            difference[name] = max(difference[name], largest)
    return [
        {
            "name": name,
            "batched": summary([one for one, _ in pairs]),
            "plain": summary([other for _, other in pairs]),
            "ratio": summary([one / other for one, other in pairs]),
            "largest_difference": difference[name],
        }
        for name, pairs in rates.items()
    ]


def table(result: dict[str, Any]) -> str:
    main, count = result["main"], result["candidates"]
    rate, ratio, half = main["per_second"], main["ratio"], main["ratio_half"]
    lines = [
        f"{result['targets']} targets and {result['controls']} controls, {result['tokens']:,} padded tokens "
        f"({result['tokens_published']:,} in the published way); {result['repeats']} repeats of {count} MLP rows, as "
        "many in every layer; medians, with ranges.",
        "",
        f"| | evaluations per second | {count} at once are faster by | {count // 2} at once by |",
        "|---|---|---|---|",
        f"| batched, {count} at once | {ranged(rate['batched'])} | | |",
        f"| batched, {count // 2} at once | {ranged(rate['batched_half'])} | | |",
        *(
            f"| {NAMES[name]} | {ranged(rate[name])} | {ranged(ratio[name])} | {ranged(half[name])} |"
            for name in BARS
        ),
        "",
        f"The largest difference of a score from the plain loop's is {main['largest_difference']:.1e} nats. The cached "
        f"streams of a new state, not counted above, take {ranged(main['refresh_seconds'], 3)} s, once for all its "
        "candidates.",
        "",
        "| other candidates | batched per second | plain per second | ratio | largest difference |",
        "|---|---|---|---|---|",
        *(
            f"| {case['name']} | {ranged(case['batched'])} | {ranged(case['plain'])} | {ranged(case['ratio'])} "
            f"| {case['largest_difference']:.1e} |"
            for case in result["cases"]
        ),
        "",
        " ".join(_verdict(name, ratio[name]["median"]) for name in BARS),
    ]
    return "\n".join(lines)


def _verdict(name: str, ratio: float) -> str:
    met = "meets" if ratio >= BARS[name] else "misses"
    return f"{ratio:.2f} times {NAMES[name]} {met} the bar of {BARS[name]:g}."
