"""`bankai serve` as a process of its own, and a library of patches for it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bankai.checkpoint.model_file import open_checkpoint
from bankai.library.library import Library
from bankai.patch import Flip, Patch, bind, encode

__all__ = ["Process", "add_patches", "serving", "until"]


class Process:
    """A running server."""

    def __init__(self, *args: object, **environment: str) -> None:
        command = [sys.executable, "-m", "bankai", "serve", *map(str, args), "--port", "0", "--json"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
        )
        assert self._process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] not in ("}\n", ""):
            lines.append(self._process.stdout.readline())
        assert lines[-1], self._process.communicate()[1]
        self.about: dict[str, Any] = json.loads("".join(lines))
        self.url: str = self.about["url"]
        self.health: str = self.url.replace("/v1", "/health")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """The exit code, and what the server wrote to stderr; it ends soon or the test fails."""
        _, errors = self._process.communicate(timeout=30)
        return self._process.returncode, errors

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def serving(*args: object, **environment: str) -> Iterator[Process]:
    """`bankai serve ARGS` inside the block."""
    process = Process(*args, **environment)
    try:
        yield process
    finally:
        process.kill()


def add_patches(library: Path, model: str | Path, names: list[str], rows: int, seed: int = 0) -> None:
    """Put in patches of so many random rows each."""
    with open_checkpoint(model) as checkpoint, Library(library, create=True) as opened:
        tensors = [name for name in checkpoint.matrices if ".mlp." in name]
        rng = random.Random(seed)
        for name in names:
            chosen = [rng.choice(tensors) for _ in range(rows)]
            flips = {Flip(tensor, rng.randrange(checkpoint.matrices[tensor].rows)) for tensor in chosen}
            opened.put(encode(bind(Patch.of(flips), checkpoint)), name=name)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not become true"
        time.sleep(0.01)
