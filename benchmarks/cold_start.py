"""Time of a cold `bankai info` against an empty Typer app with as many commands.

    python benchmarks/cold_start.py [--runs 40] [--json]

Both are started as separate processes, in turn, by the same interpreter; the ratio is that of the medians.
The empty app's commands take nothing and do nothing. The bar is 1.3.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bankai.cli.main import COMMANDS
from bankai.patch import Flip, Manifest, Patch, write_patch

EMPTY_APP = """\
import typer

app = typer.Typer()
{commands}
app()
"""
COMMAND = '''
@app.command("{name}")
def command_{index}() -> None:
    """Do nothing."""
'''


def write_empty_app(path: Path) -> None:
    commands = "".join(COMMAND.format(name=name, index=index) for index, name in enumerate(COMMANDS))
    path.write_text(EMPTY_APP.format(commands=commands))


def write_example_patch(path: Path) -> None:
    flips = [Flip(f"model.layers.{n % 36}.mlp.up_proj", 131 * n % 12288) for n in range(93)]
    write_patch(Patch.of(flips, Manifest(name="example", seed=0)), path)


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(runs: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        empty, patch = Path(folder) / "empty.py", Path(folder) / "example.bankai"
        write_empty_app(empty)
        write_example_patch(patch)
        commands = {
            "empty": [sys.executable, str(empty), "info"],
            "info": [sys.executable, "-c", "from bankai.cli.main import main; main()", "info", str(patch)],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs + 1):
            for name, command in commands.items():
                times[name].append(seconds(command))
    # The first run warms the disk cache.
    middle = {name: median(values[1:]) for name, values in times.items()}
    return {
        "ratio": round(middle["info"] / middle["empty"], 3),
        "info_ms": round(1000 * middle["info"], 1),
        "empty_ms": round(1000 * middle["empty"], 1),
        "runs": runs,
        "python": platform.python_version(),
        "typer": version("typer"),
        "machine": platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.runs)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(
            f"bankai info {result['info_ms']} ms, empty Typer app {result['empty_ms']} ms: "
            f"ratio {result['ratio']} "
            f"(bar 1.3; {result['runs']} runs each, Python {result['python']}, typer {result['typer']})"
        )


if __name__ == "__main__":
    main()
