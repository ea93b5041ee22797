"""What fuzzing, and reading the readers with a fuzzer's eyes, has found; each was wrong once."""

import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import hostile
import pytest
from fuzz.readers import READERS
from fuzz.seeds import seeds

from bankai.checkpoint.gguf import GGUFFile
from bankai.checkpoint.gguf_metadata import MAX_ITEMS
from bankai.errors import BankaiError, ModelFormatError
from bankai.patch import read_patch
from bankai.patching.sidecar import load
from bankai.probes import ProbeSet

LONG = "x" * 100_000
INDEX, SHARDED = 4, 1


def _mlx(part: int, old: bytes, new: str) -> bytes:
    """A sound directory with a change in one of its files."""
    parts = seeds("mlx")[SHARDED if part == INDEX else 0].split(b"\0")
    assert old in parts[part]
    parts[part] = parts[part].replace(old, new.encode())
    return b"\0".join(parts)


REFUSED = {
    "architecture": ("mlx", _mlx(0, b'"model_type":"qwen3"', f'"model_type":"{LONG}"')),
    "RoPE setting": ("mlx", _mlx(0, b'"rope_type":', f'"{LONG}":1,"rope_type":')),
    "token id": ("mlx", _mlx(1, b'"a":0', f'"a":"{LONG}"')),
    "merge": ("mlx", _mlx(1, b'["a","b"]', f'["{LONG}","b"]')),
    "special token": ("mlx", _mlx(2, b'"eos_token":"<|im_end|>"', f'"eos_token":"{LONG}"')),
    "shard": ("mlx", _mlx(4, b'"model.safetensors"', f'"{LONG}"')),
    "tensor in the index": (
        "mlx",
        _mlx(4, b'{"weight_map": {', '{"weight_map": {"' + LONG + '":"model.safetensors",'),
    ),
    "tensor in the header": ("safetensors", hostile.safetensors({LONG: 0})),
    "type": ("safetensors", hostile.safetensors({"t": hostile.entry(0, 8, dtype=LONG)}, bytes(8))),
    "metadata key": ("gguf", hostile.gguf([hostile.pair(b"x" * 60_000, hostile.U8, b"\0")] * 2)),
    "projection": (
        "json",
        b'{"format":"bankai_row_xor_v1","flips":[{"layer":0,"row":0,"proj":"%s"}]}' % LONG.encode(),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_does_not_repeat_the_file(name: str) -> None:
    """They quoted names whole: megabytes in a terminal."""
    reader, data = REFUSED[name]
    with pytest.raises(BankaiError) as caught:
        READERS[reader].read(data)
    assert "xxx" in str(caught.value) and len(str(caught.value)) < 500


def test_a_sidecar_does_not_either(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf.bankai.json"
    line = {"name": LONG, "time": LONG, "patch": ""}
    path.write_text(json.dumps({"version": 1, "patches": [line]}))
    assert "not a .bankai patch" in load(path)[1] and len(load(path)[1]) < 500


@pytest.mark.parametrize(
    ("name", "read"),
    [("p.bankai", read_patch), ("p.jsonl", ProbeSet.load), ("m.gguf.bankai.json", load)],
    ids=["patch", "probes", "sidecar"],
)
def test_a_small_file_takes_little_memory(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    """They set aside the most that they would read, up to 64 MiB, however small the file."""
    path = tmp_path / name
    path.write_bytes(b"\xb1XOR")
    tracemalloc.start()
    with suppress(BankaiError):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


def _arrays(count: int) -> bytes:
    """Arrays without end in one that is not said to have more than its bytes could hold."""
    return hostile.gguf(
        [hostile.pair(b"a", hostile.ARRAY, hostile.array(hostile.ARRAY, count, bytes(12 * count)))]
    )


def test_arrays_of_a_gguf_file_are_bounded_together(tmp_path: Path) -> None:
    """Each had a bound of its own: a file of 50 MB took 1.8 seconds to open, and so on."""
    path = tmp_path / "m.gguf"
    one = hostile.array(hostile.U8, MAX_ITEMS // 2 + 1, bytes(MAX_ITEMS // 2 + 1))
    path.write_bytes(hostile.gguf([hostile.pair(b"a", hostile.ARRAY, one)]))
    GGUFFile(path).close()
    path.write_bytes(hostile.gguf([hostile.pair(name, hostile.ARRAY, one) for name in (b"a", b"b")]))
    with pytest.raises(ModelFormatError, match=f"{MAX_ITEMS} are allowed in all"):
        GGUFFile(path)
    path.write_bytes(_arrays(MAX_ITEMS // 16))
    GGUFFile(path).close()
    path.write_bytes(_arrays(MAX_ITEMS // 16 + 1))
    with pytest.raises(ModelFormatError, match=f"{MAX_ITEMS} are allowed in all"):
        GGUFFile(path)
