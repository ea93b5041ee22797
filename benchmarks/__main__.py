"""Run benches one after the other and write their results and tables.

python -m benchmarks [NAME...] [--quick] [--out DIR] [--list] [--tables]

All but `accelerator` and those of llama.cpp run by default; `make bench` does that with limited threads. A quick run
only shows that a bench works: its results go into build/benchmarks, and never onto the page.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.results import PAGE, RESULTS, ROOT, about, fill, read, write

BENCHES = (
    "engine",
    "reach",
    "fidelity",
    "heldout",
    "frontier",
    "verdict",
    "big",
    "swap",
    "library",
    "serve_torch",
    "cluster",
    "scale",
)
ON_DEMAND = ("accelerator", "llama", "serve_llama")  # run only when named: not everyone has what they need
QUICK = ROOT / "build" / "benchmarks"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if options.list:
        for name in (*BENCHES, *ON_DEMAND):
            print(f"{name:12} {(_bench(name).__doc__ or '').splitlines()[0]}")
        return
    out = options.out or (QUICK if options.quick else RESULTS)
    for name in () if options.tables else options.names or BENCHES:
        _run(name, out, options)
    if out == RESULTS:
        _write_tables()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure ratios side by side.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="what to run; all but accelerator and those of llama.cpp by default",
    )
    parser.add_argument("--quick", action="store_true", help="a tiny setting that only shows that it works")
    parser.add_argument(
        "--out", type=Path, help="folder of the results; the page follows the default one only"
    )
    parser.add_argument("--list", action="store_true", help="what there is")
    parser.add_argument("--tables", action="store_true", help="only write the tables of the page anew")
    accelerator = parser.add_argument_group("accelerator")
    accelerator.add_argument("--device", default="cuda")
    accelerator.add_argument("--shape", default="bonsai-8b")
    accelerator.add_argument("--dtype", default="bfloat16")
    return parser


def _bench(name: str) -> ModuleType:
    if name not in (*BENCHES, *ON_DEMAND):
        sys.exit(f"no bench {name!r}; those are: {', '.join((*BENCHES, *ON_DEMAND))}")
    return import_module(f"benchmarks.{name}")


def _run(name: str, out: Path, options: argparse.Namespace) -> None:
    bench, where = _bench(name), about()
    print(f"{name}: {(bench.__doc__ or '').splitlines()[0]}", flush=True)
    start = time.monotonic()
    result = bench.run(options.quick, **_settings(name, options))
    seconds = round(time.monotonic() - start, 1)
    report = {"bench": name, **where, "seconds": seconds, "quick": options.quick, "result": result}
    path = write(out, report)
    print(f"\n{bench.table(result)}\n\n{seconds:g} s, written to {path}\n", flush=True)


def _settings(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """What a bench is told besides `quick`."""
    if name != "accelerator":
        return {}
    return {"device": options.device, "shape": options.shape, "dtype": options.dtype}


def _write_tables() -> None:
    """The tables of all benches that have a result, and the figures of those that draw one."""
    ran = [name for name in (*BENCHES, *ON_DEMAND) if (RESULTS / f"{name}.json").exists()]
    for name in ran:
        if hasattr(_bench(name), "draw"):
            _bench(name).draw(read(RESULTS, name)["result"], PAGE.with_name(f"{name}.svg"))
    PAGE.write_text(fill(PAGE.read_text(), RESULTS, {name: _bench(name).table for name in ran}))


if __name__ == "__main__":
    main()
