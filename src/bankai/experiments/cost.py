"""What a patch costs: its share of the weights, a thousand of them in one library, and the search for one."""

import tempfile
from pathlib import Path
from random import Random
from typing import Any

from bankai.checkpoint.synth import SHAPES, Shape
from bankai.experiments.context import Context
from bankai.experiments.outcomes import mean_claim, over
from bankai.experiments.values import Claim, Experiment, Result, Table
from bankai.experiments.verdicts import EVERYTHING
from bankai.jobs.describe import count_bits
from bankai.library.library import Library
from bankai.model import ModelMatrices
from bankai.model.decoder import Decoder
from bankai.patch import Binding, Flip, Manifest, Patch, bind, encode
from bankai.search import Space

__all__ = ["EXPERIMENT", "claims", "mlp_bits", "published_patch", "run", "tables"]

PUBLISHED_FLIPS = 93
PUBLISHED_LAYERS = (1, 2, 3, 4, 34)
PUBLISHED_SHARE = 0.0001  # the announcement's 0.007 %, rounded up
PATCHES = 1_000, 20
SHAPE = "bonsai-8b"


def run(context: Context) -> dict[str, Any]:
    decoder, tensors = Decoder(context.bench.model), ModelMatrices(context.bench.model)
    shapes = [tensors.matrices[name].shape for name in Space().tensors(decoder)]
    whole, seeds = sum(rows * columns for rows, columns in shapes), []
    for at, seed in enumerate(context.seeds):
        search = context.search(context.usual_task(seed), context.guided(seed))
        patch = bind(Patch(search.flips), tensors)
        seeds.append(
            {
                "seed": seed,
                "flips": len(patch),
                "share": count_bits(tensors, patch.flips) / whole,
                "bytes": len(encode(patch, manifest=False)),
                "evaluations": search.finished.evaluations,
                "seconds": search.finished.seconds,
            }
        )
        context.listen("cost", at + 1, len(context.seeds))
    shape, count = SHAPES[SHAPE], context.size(*PATCHES)
    bits = PUBLISHED_FLIPS * shape.hidden  # a row of gate or up reads the hidden state
    return {
        "seeds": seeds,
        "weights": whole,
        "published_share": bits / mlp_bits(shape),
        "patches": count,
        "library_bytes": _library_bytes(shape, count),
    }


def mlp_bits(shape: Shape) -> int:
    """Weights of gate, up and down in all layers."""
    return 3 * shape.layers * shape.hidden * shape.inner


def published_patch(shape: Shape, number: int) -> Patch:
    """As many random rows as the published patch had, in its places; what binds it is random, as long as a digest."""
    rng, flips = Random(number), set[Flip]()
    while len(flips) < PUBLISHED_FLIPS:
        tensor = f"model.layers.{rng.choice(PUBLISHED_LAYERS)}.mlp.{rng.choice(('gate', 'up'))}_proj"
        flips.add(Flip(tensor, rng.randrange(shape.inner)))
    binding = Binding(bytes(8), rng.randbytes(8), rng.randbytes(8))
    return Patch(frozenset(flips), binding, Manifest(name=f"patch-{number:04}", base_model=SHAPE))


def _library_bytes(shape: Shape, count: int) -> int:
    """Size of a library with so many unsigned patches."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "patches.library"
        with Library(path, create=True) as library, library.change():
            for number in range(count):
                patch = published_patch(shape, number)
                library.put(encode(patch), name=patch.manifest.name, keys=())
        return path.stat().st_size


def claims(result: Result) -> list[Claim]:
    thousand = 1_000 * result["library_bytes"] / result["patches"] / 1e6
    seconds = over([seed["seconds"] for seed in result["seeds"]], 0)
    return [
        mean_claim(
            "A patch flips less than 0.01 % of the MLP weights",
            f"0.007 % (93 rows of {SHAPE}: {result['published_share']:.4%})",
            [100 * seed["share"] for seed in result["seeds"]],
            " %",
            below=100 * PUBLISHED_SHARE,
        ),
        Claim(
            "A thousand patches add about 1 MB: below 1.2 MB with names and manifests",
            "1 MB",
            f"{thousand:.2f} MB for {PUBLISHED_FLIPS} random rows of {SHAPE} each, in one library",
            thousand,
            (thousand, thousand),
            below=1.2,
        ),
        Claim(
            f"A search on 60 probes of {SHAPE} takes 424 s or less on one data-centre GPU",
            "424 s on one L40S, 5,351 s on a laptop",
            f"not run: no GPU was used; {seconds} s on this model and machine",
            0,
            EVERYTHING,
            below=424,
        ),
    ]


def tables(result: Result) -> list[Table]:
    rows = [
        [
            f"seed {seed['seed']}",
            str(seed["flips"]),
            f"{seed['share']:.3%}",
            str(seed["bytes"]),
            f"{seed['evaluations']:.0f}",
            f"{seed['seconds']:.0f}",
        ]
        for seed in result["seeds"]
    ]
    columns = ["guided", "flips", "MLP weights flipped", "bytes without manifest", "evaluations", "seconds"]
    note = (
        f"Of {result['weights']:,} MLP weights: a row is a larger share of a small model. The library holds "
        f"{result['patches']:,} patches in {result['library_bytes']:,} bytes."
    )
    return [Table("What a patch of this model costs", columns, rows, note)]


EXPERIMENT = Experiment(run, claims, tables)
