"""A thousand signed patches of 93 flips in one library: its size, and how long listing and the other work takes.

Rows of gate, up and down in the shape of Bonsai 8B, drawn at random; manifests as a search writes them. The digests
that bind a patch are random bytes, which take as many as real ones. Every time includes opening the library.
"""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bankai.checkpoint.synth import SHAPES
from bankai.library.library import Library
from bankai.library.overlap import overlaps
from bankai.patch import Binding, Flip, Manifest, Patch, encode
from bankai.signing.signature import SecretKey, Signature, sign
from benchmarks.measure import ranged, seconds, summary
from benchmarks.outcomes import table_of

__all__ = ["BARS", "mlp_rows", "patch_file", "run", "table"]

BARS = {"library_bytes": 1_000_000, "list": 0.050}
FLIPS = 93
FINGERPRINT = bytes.fromhex("0123456789abcdef")
Works = dict[str, Callable[[], Any]]


def mlp_rows() -> dict[str, int]:
    """MLP projections and their numbers of rows."""
    shape = SHAPES["bonsai-8b"]
    sizes = {"gate": shape.inner, "up": shape.inner, "down": shape.hidden}
    return {
        f"model.layers.{layer}.mlp.{name}_proj": rows
        for layer in range(shape.layers)
        for name, rows in sizes.items()
    }


def patch_file(number: int, tensors: dict[str, int]) -> bytes:
    """The file of a patch with all that a search tells of it, and a description."""
    rng = random.Random(number)
    flips: set[Flip] = set()
    while len(flips) < FLIPS:
        (name,) = rng.choices(list(tensors), list(tensors.values()))
        flips.add(Flip(name, rng.randrange(tensors[name])))
    manifest = Manifest(
        name=f"calculus-{number:04}",
        description=f"Derivatives and integrals that are asked for in other words, draw {number}",
        base_model="Bonsai-8B.gguf",
        seed=number,
        strategy="guided",
        objective="score gain - 2 x margin lost by controls - 4 x drift",
        probes=rng.randbytes(16).hex(),
        versions={package: version(package) for package in ("bankai", "torch", "transformers")},
        results={
            "fitness": round(rng.uniform(0, 2), 4),
            "evaluations": round(rng.uniform(50, 300), 1),
            "heldout": _outcome(rng, 400),
            "control": _outcome(rng, 512),
        },
        metadata={"bits": FLIPS * 4096},
    )
    binding = Binding(FINGERPRINT, rng.randbytes(8), rng.randbytes(8))
    return encode(Patch(frozenset(flips), binding, manifest))


def _outcome(rng: random.Random, probes: int) -> dict[str, int]:
    base = rng.randrange(probes + 1)
    fixed, broke = rng.randrange(probes - base + 1), rng.randrange(base + 1)
    return {"probes": probes, "base": base, "patched": base + fixed - broke, "fixed": fixed, "broke": broke}


def run(quick: bool) -> dict[str, Any]:
    patches, repeats = (30, 3) if quick else (1000, 50)
    tensors, key = mlp_rows(), SecretKey.generate()
    files = [patch_file(number, tensors) for number in range(patches)]
    signatures = [_signed(data, number, key) for number, data in enumerate(files)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "patches.library"
        _, filled = seconds(lambda: _fill(path, files, signatures, key))
        size = path.stat().st_size
        with Library(path) as library:
            checked = library.check([key.public])
        works = _works(path, files, key)
        times = {"list": _times(works.pop("list"), repeats)}
        times |= {name: _times(work, max(3, repeats // 10)) for name, work in works.items()}
    return {
        "patches": patches,
        "flips": FLIPS,
        "verified": checked.verified,
        "findings": len(checked.findings),
        "library_bytes": size,
        "patch_bytes": sum(map(len, files)),
        "signature_bytes": sum(len(signature.pack()) for signature in signatures),
        "fill": filled,
        "times": times,
    }


def _signed(data: bytes, number: int, key: SecretKey) -> Signature:
    """With the comment that `bankai sign` and minisign write."""
    return sign(data, key, f"timestamp:{int(time.time())}\tfile:calculus-{number:04}.bankai\thashed")


def _fill(path: Path, files: list[bytes], signatures: list[Signature], key: SecretKey) -> None:
    """Everything that `bankai library add` does with files that it has read."""
    with Library(path, create=True) as library, library.change():
        library.policy = "signed"
        for number, (data, signature) in enumerate(zip(files, signatures, strict=True)):
            name, tags = f"calculus-{number:04}", ("calculus", "math")
            library.put(data, signature, name=name, tags=tags, keys=[key.public])


def _works(path: Path, files: list[bytes], key: SecretKey) -> Works:
    """What is timed. Nothing leaves the library other than it was."""

    def opened(work: Callable[[Library], Any]) -> Callable[[], Any]:
        def both() -> None:
            with Library(path, writable=True) as library:
                work(library)

        return both

    def replace(library: Library) -> None:
        library.put(
            files[0], _signed(files[0], 0, key), name="calculus-0000", replace=True, keys=[key.public]
        )

    command = [sys.executable, "-m", "bankai", "library", "list", str(path)]
    return {
        "list": opened(lambda library: library.list()),
        "command": lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL),
        "get": opened(lambda library: library.get("calculus-0007")),
        "replace": opened(replace),
        "search": opened(lambda library: library.search(["draw 7"])),
        "overlap": opened(lambda library: overlaps(library, ["calculus-0007"])),
        "check": opened(lambda library: library.check([key.public])),
    }


def _times(work: Callable[[], Any], repeats: int) -> dict[str, float]:
    work()
    return summary([seconds(work)[1] for _ in range(repeats)])


NAMES = {
    "list": "list all",
    "command": "`bankai library list`, the whole process",
    "get": "get one",
    "replace": "put one in the place of another, synced",
    "search": "search for words in the descriptions",
    "overlap": "overlap of one with all others",
    "check": "check all, signatures too",
}


def table(result: dict[str, Any]) -> str:
    size, count, times = result["library_bytes"], result["patches"], result["times"]
    listing, patch, signature = times["list"]["median"], result["patch_bytes"], result["signature_bytes"]
    lines = [
        f"{count:,} patches of {result['flips']} flips, all signed: {size:,} bytes, {size / count:.0f} for each, of "
        f"which {patch / count:.0f} are the patch with its manifest and {signature / count:.0f} the signature. Put in "
        f"as one change in {result['fill']:.1f} s; {result['verified']:,} signatures verified, "
        f"{result['findings']} findings.",
        "",
        table_of(("", "milliseconds"), [(NAMES[name], _milli(found)) for name, found in times.items()]),
        "",
        f"{size:,} bytes {_verdict(size <= BARS['library_bytes'])} the bar of {BARS['library_bytes']:,}. "
        f"Listing in {1e3 * listing:.1f} ms {_verdict(listing <= BARS['list'])} the bar of {1e3 * BARS['list']:.0f}.",
    ]
    return "\n".join(lines)


def _milli(found: dict[str, float]) -> str:
    return ranged({name: 1e3 * value for name, value in found.items()}, 1)


def _verdict(met: bool) -> str:
    return "meets" if met else "misses"
