"""The nightly fuzz (`make fuzz`): atheris on every reader in turn, each in a process of its own, guided by coverage.

    python tests/fuzz/run.py [--seconds N] [--readers NAME...] [--out FOLDER]

Stops at an input that breaks what `readers.check` demands, or that a reader does not end with in 20 s or 1 GiB, and
keeps it in FOLDER/READER/crash-... and exits 1 in the end. What is found becomes a test. The corpus stays in FOLDER, so
that the next night begins where this one ended.
"""

import argparse
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

_HERE = Path(__file__).parents[1]
sys.path[:0] = [str(_HERE), str(_HERE.parent)]

_SECONDS_AN_INPUT = 20  # by the clock, for what never ends; `check` allows one of the processor
_MIB_OF_MEMORY = 1024
_LONGEST_INPUT = 1 << 14
_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]{2,40}")


def main() -> int:
    arguments = _parse()
    if arguments.one:
        return _fuzz(arguments.one)
    from fuzz.readers import READERS

    names = arguments.readers or list(READERS)
    results = {name: _run(name, arguments.out / name, arguments.seconds / len(names)) for name in names}
    for name, (line, _) in results.items():
        print(f"{name:12} {line}")
    return max(code for _, code in results.values())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1200, help="of all readers together")
    parser.add_argument("--readers", nargs="+", metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--one", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(name: str, folder: Path, seconds: float) -> tuple[str, int]:
    """Fuzz one reader; what it came to, and 0 when nothing was found."""
    from fuzz.readers import FOLDER
    from fuzz.seeds import seeds

    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(data)
    words = sorted({word for data in seeds(name) for word in _WORD.findall(data)})
    (folder / "words").write_text("".join(f'"{word.decode()}"\n' for word in words))
    settings = {
        "max_total_time": round(seconds),
        "timeout": _SECONDS_AN_INPUT,
        "rss_limit_mb": _MIB_OF_MEMORY,
        "max_len": _LONGEST_INPUT,
        "artifact_prefix": f"{folder}/",
        "dict": folder / "words",
        "print_final_stats": 1,
    }
    flags = [f"-{key}={value}" for key, value in settings.items()]
    command = [sys.executable, __file__, "--one", name, *flags, str(corpus)]
    environment = {
        **os.environ,
        "TMPDIR": str(FOLDER),
    }  # which goes when this process ends; libFuzzer tidies nothing
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, check=False)
    log = done.stderr.decode(errors="replace")
    (folder / "log").write_text(log)
    if done.returncode:
        print(log[-3000:], file=sys.stderr)
    return _summary(log), int(done.returncode != 0)


def _summary(log: str) -> str:
    """Inputs run, and what libFuzzer says of its last new one: coverage, features, corpus."""
    runs = re.findall(r"stat::number_of_executed_units: *(\d+)", log)
    covered = re.findall(r"(cov: \d+ ft: \d+ corp: \d+)", log)
    return f"{runs[-1] if runs else '?'} inputs, {covered[-1] if covered else 'no coverage'}"


def _fuzz(arguments: list[str]) -> int:
    """The child: never returns, for libFuzzer ends the process."""
    import atheris

    name, *flags = arguments
    with atheris.instrument_imports(include=["bankai"]):
        from fuzz.readers import READERS, check
    tracemalloc.start()
    atheris.Setup([sys.argv[0], *flags], lambda data: check(READERS[name], data))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
