"""Peak memory of loading: the bits once, not the file beside its copy."""

import subprocess
import sys

import pytest

from bankai.checkpoint import synth

_LOAD = """
import sys
import torch
from bankai.checkpoint.model_file import open_checkpoint
from bankai.model import load_model

def mebibytes(key):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024

with open_checkpoint(sys.argv[1]) as checkpoint:
    before = mebibytes("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    model = load_model(checkpoint)
    print(mebibytes("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_loading_holds_the_bits_once(tmp_path, monkeypatch):
    shape = synth.Shape(24, 1024, 8192, 8, 8, 1024, tied=False, vocabulary=1024)
    monkeypatch.setitem(synth.SHAPES, "memory", shape)
    path = synth.synthesize(tmp_path / "memory.gguf", "memory")
    size = path.stat().st_size / 2**20
    done = subprocess.run([sys.executable, "-c", _LOAD, path], capture_output=True, text=True, check=True)
    assert size > 80
    # Packed bits, one tensor of the map at a time, and what torch and Transformers take to make a model.
    assert float(done.stdout) < 1.5 * size
