"""Experiment 1 of the announcement: random bits of the MLP flipped, by number and strategy, against perplexity."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random
from statistics import fmean
from typing import Any

from bankai.evaluation.scoring import perplexity
from bankai.experiments.context import Context
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table
from bankai.experiments.verdicts import mean_interval
from bankai.model import patched
from bankai.model.decoder import Decoder
from bankai.patch import Flip, Patch
from bankai.patch.places import flip_of
from bankai.quantization import MatrixInfo
from bankai.search.space import Space
from bankai.tensor_names import parse_tensor_name

__all__ = [
    "EXPERIMENT",
    "PUBLISHED_SHARE",
    "claims",
    "draw_bits",
    "matched_count",
    "plots",
    "run",
    "strategies",
    "tables",
]

PUBLISHED_SHARE = 500_000 / (36 * 3 * 4096 * 12288)  # of the MLP bits of Bonsai 8B
COUNTS, QUICK_COUNTS = (100, 1_000, 10_000, 100_000), (1_000,)
TEXTS, QUICK_TEXTS = 20, 5
LIMIT = 0.01  # the published bound: less than 1 %

Row = tuple[str, int, MatrixInfo]
"""Tensor, row, and what the tensor is."""


def run(context: Context) -> dict[str, Any]:
    decoder = Decoder(context.bench.model)
    texts = context.texts(context.size(TEXTS, QUICK_TEXTS))
    chosen = strategies(decoder)
    bits = sum(info.shape[1] for _, _, info in chosen["all layers"])
    base, matched = _perplexity(context, texts), matched_count(bits)
    counts = sorted({matched, *context.size(COUNTS, QUICK_COUNTS)})
    measured: list[dict[str, Any]] = []
    for at, (strategy, rows) in enumerate(chosen.items()):
        for count in (count for count in counts if count <= sum(info.shape[1] for _, _, info in rows) / 2):
            for seed in context.seeds:
                flips = draw_bits(rows, count, Random(seed))
                with patched(context.bench.model, Patch(flips), unbound=True):
                    found = _perplexity(context, texts)
                change = found / base - 1
                measured.append({"strategy": strategy, "count": count, "seed": seed, "change": change})
        context.listen("random flips", at + 1, len(chosen))
    return {"bits": bits, "matched": matched, "texts": len(texts), "perplexity": base, "measured": measured}


def matched_count(bits: int) -> int:
    """As large a share of these bits as the published 500,000 were of theirs; at least one."""
    return max(1, round(PUBLISHED_SHARE * bits))


def strategies(decoder: Decoder) -> dict[str, list[Row]]:
    """The rows that each published strategy draws from; layers 16 to 24 of 36 in proportion."""
    scaled = [
        (scale, (tensor, row, decoder.matrix(tensor).info))
        for tensor in Space().tensors(decoder)
        for row, scale in enumerate(decoder.matrix(tensor).magnitudes().tolist())
    ]
    by_scale = [row for _, row in sorted(scaled, key=lambda pair: (pair[0], *pair[1][:2]))]
    quarter = len(by_scale) // 4
    first, end = math.floor(decoder.layers * 16 / 36), math.ceil(decoder.layers * 25 / 36)
    return {
        "all layers": [row for _, row in scaled],
        "middle layers": [row for _, row in scaled if first <= (parse_tensor_name(row[0]).layer or 0) < end],
        "middle scale": by_scale[quarter:-quarter],
        "top-quarter scale": by_scale[-quarter:],
    }


def draw_bits(rows: Sequence[Row], count: int, rng: Random) -> frozenset[Flip]:
    """So many different bits of these rows, all alike likely."""
    ends = list(accumulate(info.shape[1] for _, _, info in rows))

    def flips() -> Iterator[Flip]:
        for number in rng.sample(range(ends[-1]), count):
            at = bisect_right(ends, number)
            tensor, row, info = rows[at]
            yield flip_of(tensor, row, "bit", number - ends[at] + info.shape[1], info)

    return frozenset(flips())


def _perplexity(context: Context, texts: Sequence[str]) -> float:
    """Geometric mean over the texts."""
    bench = context.bench
    return math.exp(fmean(math.log(perplexity(bench.model, bench.tokenizer, text)) for text in texts))


def _changes(result: Result) -> dict[tuple[str, int], list[float]]:
    """Relative changes over the seeds by strategy and number."""
    found: dict[tuple[str, int], list[float]] = {}
    for one in result["measured"]:
        found.setdefault((one["strategy"], one["count"]), []).append(one["change"])
    return found


def claims(result: Result) -> list[Claim]:
    at_share = {
        name: values for (name, count), values in _changes(result).items() if count == result["matched"]
    }
    worst, values = max(at_share.items(), key=lambda one: abs(fmean(one[1])))
    return [
        Claim(
            what=f"Flipping {PUBLISHED_SHARE:.4%} of the MLP bits at random changes perplexity by less than 1 %",
            published="500,000 of 5.4 billion bits: Δppl < 0.08, below 1 %, in four strategies",
            ours=f"{result['matched']} of {result['bits']:,} bits: {fmean(values):+.2%} in the worst, {worst}",
            value=fmean(values),
            interval=mean_interval(values),
            above=-LIMIT,
            below=LIMIT,
        )
    ]


def tables(result: Result) -> list[Table]:
    found = _changes(result)
    counts = sorted({count for _, count in found})
    names = list(dict.fromkeys(name for name, _ in found))
    rows = [
        [name, *(f"{fmean(found[name, count]):+.2%}" if (name, count) in found else "–" for count in counts)]
        for name in names
    ]
    return [
        Table(
            "Mean change of perplexity by number of random bits",
            ["strategy", *(f"{count:,} ({count / result['bits']:.3%})" for count in counts)],
            rows,
            f"{result['texts']} neutral texts, base perplexity {result['perplexity']:.3f}. The number with the share "
            "of the published 500,000 is the claim's; equal numbers are a far larger share of a small model. –: more "
            "than half of the bits there.",
        )
    ]


def plots(result: Result) -> list[Plot]:
    found = _changes(result)
    series = []
    for name in dict.fromkeys(name for name, _ in found):
        points = sorted((count, values) for (of, count), values in found.items() if of == name)
        y = [100 * fmean(values) for _, values in points]
        low, high = ([100 * end(values) for _, values in points] for end in (min, max))
        series.append(Series(name, [100 * count / result["bits"] for count, _ in points], y, low, high))
    title = "Random bits flipped: mean and range over the seeds"
    return [Plot(title, "MLP bits flipped, %", "change of perplexity, %", series, log_x=True)]


EXPERIMENT = Experiment(run, claims, tables, plots)
