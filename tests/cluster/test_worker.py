"""A worker in this process: what it loads, and that what it gives is what a replica gives; no Ray."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from wide import CONTROLS, TARGETS, TEXTS

from bankai.checkpoint.convert import convert
from bankai.checkpoint.model_file import open_checkpoint
from bankai.cluster.files import digest, pack, unpack
from bankai.cluster.worker import Duty, Worker, machine, tensors, versions
from bankai.model import load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search.crew import Read, StreamName, alone
from bankai.search.parts import SearchProbes, encode_parts

FLIPS = frozenset([Flip("model.layers.1.mlp.up_proj", 7)])
UNIT = Read(StreamName(2, False, 0), (frozenset([Flip("model.layers.2.mlp.gate_proj", 3)]), frozenset()))


@pytest.fixture(scope="module")
def duty(wide_gguf: Path) -> Duty:
    tokenizer = load(wide_gguf)[1]
    slices, _ = encode_parts(tokenizer, SearchProbes(TARGETS, CONTROLS, texts=TEXTS))
    return Duty(str(wide_gguf), digest(wide_gguf), True, "cpu", "float32", torch.get_num_threads(), slices)


def test_a_worker_gives_what_a_replica_gives(duty: Duty) -> None:
    worker = Worker(duty)
    arrival = worker.prepare()
    assert arrival == (versions(), machine("cpu"))
    replica = alone(Decoder(load(duty.source, dense=True)[0]), duty.slices)
    for flips in (frozenset(), FLIPS):
        replica.follow(flips)
        expected: list[tuple[torch.Tensor, ...]] = []
        replica.run([UNIT], expected.append)
        (found,) = map(tensors, worker.do(flips, UNIT))
        assert all(torch.equal(*pair) for pair in zip(found, expected[0], strict=True))


def test_a_worker_takes_no_other_file_of_that_name(duty: Duty, tmp_path: Path) -> None:
    other = tmp_path / "model.gguf"
    changed = bytearray(Path(duty.source).read_bytes())
    changed[-1] ^= 1
    other.write_bytes(changed)
    for source in (str(other), str(tmp_path / "none.gguf")):
        worker = Worker(replace(duty, source=source))
        assert worker.prepare() is None
        assert worker.prepare(pack(Path(duty.source))) == (versions(), machine("cpu"))
        assert worker.do(FLIPS, UNIT)


def test_files_of_a_model_travel(wide_gguf: Path, tmp_path: Path) -> None:
    convert(wide_gguf, tmp_path / "mlx")
    for source in (wide_gguf, tmp_path / "mlx"):
        folder = tmp_path / source.stem / "there"
        folder.mkdir(parents=True)
        there = unpack(pack(source), folder)
        assert digest(there) == digest(source) != ""
        with open_checkpoint(there) as checkpoint:
            assert checkpoint.matrices
    shutil.copy(wide_gguf, tmp_path / "another name.gguf")
    assert digest(tmp_path / "another name.gguf") == digest(wide_gguf)
    assert digest(tmp_path / "none") == ""
