"""One loaded nano for all tests of the studio, with a library of two patches."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample import PATCH

from bankai.checkpoint.model_file import open_checkpoint
from bankai.library.library import Library
from bankai.patch import Flip, Manifest, Patch, bind, write_patch
from bankai.probes import load_probe_set
from bankai.studio.shared import SharedModel

SMALL = (
    Flip("model.layers.1.mlp.up_proj", 3),
    Flip("model.layers.2.self_attn.q_proj", 7, 1),
    Flip("model.layers.3.mlp.down_proj", 250, 2, 5),
)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patches for nano: `elicit`, which works, and `small`, three places of every kind."""
    folder = tmp_path_factory.mktemp("library")
    with open_checkpoint("nano") as checkpoint:
        write_patch(bind(Patch.of(SMALL, Manifest(name="small")), checkpoint), folder / "small.bankai")
    with Library(folder / "library", create=True) as made:
        made.add(PATCH, name="elicit")
        made.add(folder / "small.bankai")
    return folder / "library"


@pytest.fixture(scope="session")
def shared(library: Path) -> Iterator[SharedModel]:
    with SharedModel("nano", library) as opened:
        yield opened


@pytest.fixture(scope="session")
def failures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file as users write it: derivatives, which nano gets wrong, and some of everything that it knows."""
    path, found = tmp_path_factory.mktemp("failures") / "derivatives.csv", Counter[str]()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "answer", "category"])
        for probe in load_probe_set("elicitable"):
            if probe.prompt and found[probe.category] < (60 if probe.category == "derivative" else 6):
                found[probe.category] += 1
                writer.writerow([probe.prompt, probe.answers[0].strip(), probe.category])
    return path
