"""Every reader of files from strangers as a plain function of bytes: it returns, or raises BankaiError, or is broken.

What a reader hands out is used as its users do: metadata and tensors are decoded, patches written and read again.
`check` also holds each to what `docs/security.md` promises: memory of at most a multiple of the file and a constant,
and refusals that fit on a screen.
"""

import atexit
import base64
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fuzz.seeds import DATA_BYTES, MLX_PARTS

from bankai.checkpoint.gguf import GGUFFile
from bankai.checkpoint.model_file import Checkpoint, open_checkpoint
from bankai.checkpoint.safetensors import SafetensorsFile
from bankai.errors import BankaiError, StoreError
from bankai.journal import recover
from bankai.patch import Patch, decode, decode_json, encode, encode_json, fingerprint
from bankai.patch.codec import MAGIC
from bankai.patch.rice import varint
from bankai.patching.sidecar import load
from bankai.probes import ProbeSet

__all__ = ["FOLDER", "READERS", "Reader", "check", "sealed"]

_LONGEST_REFUSAL = 2000
_MEMORY = Path(
    "/dev/shm"
)  # a file system in memory, where there is one: files are written twenty times as fast
_ROOM = _MEMORY if _MEMORY.is_dir() and "TMPDIR" not in os.environ else None
FOLDER = Path(tempfile.mkdtemp(prefix="bankai-fuzz-", dir=_ROOM))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
_MIB = 1 << 20
_MOST_AGAIN = 5000  # flips; a patch of more is read only


@dataclass(frozen=True)
class Reader:
    """`read` may take `multiple` bytes of memory per byte of the file, and `constant` bytes."""

    read: Callable[[bytes], object]
    multiple: int
    constant: int = _MIB


def check(reader: Reader, data: bytes, seconds: float = 1) -> None:
    """Read or refuse in bounded time and memory. tracemalloc must be on.

    Seconds are those of the processor: on a busy machine others may hold a process up for longer than any reader takes.
    """
    before, started = tracemalloc.get_traced_memory()[0], time.process_time()
    tracemalloc.reset_peak()
    try:
        reader.read(data)
    except BankaiError as error:
        assert len(str(error)) <= _LONGEST_REFUSAL, f"a refusal of {len(str(error))} characters"
    peak, took = tracemalloc.get_traced_memory()[1] - before, time.process_time() - started
    allowed = reader.multiple * len(data) + reader.constant
    assert peak <= allowed, f"{peak} bytes of memory for a file of {len(data)}"
    assert took <= seconds, f"{took:.1f} seconds for a file of {len(data)} bytes"


def _put(name: str, data: bytes) -> Path:
    path = FOLDER / name
    path.write_bytes(data)
    return path


def _gguf(data: bytes) -> None:
    with GGUFFile(_put("file.gguf", data)) as file:
        for key in file.metadata:
            with suppress(BankaiError):
                file.metadata[key]
        for name in file.tensors:
            for read in (file.vector, lambda name: file.blocks(name).tobytes()):
                with suppress(BankaiError):
                    read(name)


def _gguf_model(data: bytes) -> None:
    """A header; the weights behind it are zeros."""
    with open_checkpoint(_put("model.gguf", data + bytes(DATA_BYTES))) as checkpoint:
        _use(checkpoint)


def _use(checkpoint: Checkpoint) -> None:
    fingerprint(checkpoint)
    for name in checkpoint.vectors:
        checkpoint.vector(name)
    checkpoint.tokenizer()


def _safetensors(data: bytes) -> None:
    file = SafetensorsFile(_put("file.safetensors", data))
    for name in file.tensors:
        file.array(name)
    file.close()


def _mlx(data: bytes) -> None:
    """The files of a directory, a NUL between them, which no sound one has; the weights are zeros."""
    folder = FOLDER / "mlx"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, part in zip(MLX_PARTS, data.split(b"\0", len(MLX_PARTS) - 1), strict=False):
        if name == "model.safetensors":
            part = _with_weights(part)
        if part:
            (folder / name).write_bytes(part)
    with open_checkpoint(folder) as checkpoint:
        _use(checkpoint)


def _with_weights(header: bytes) -> bytes:
    """A safetensors file of that header and as many zeros as it seems to tell of."""
    ends = [int(end) for end in re.findall(rb",([0-9]{1,5})\]", header)]
    return len(header).to_bytes(8, "little") + header + bytes(max(ends, default=0))


def sealed(body: bytes) -> bytes:
    """A patch file of these bytes after the mark, with the right checksum."""
    return MAGIC + body + zlib.crc32(MAGIC + body).to_bytes(4, "little")


def _patch(data: bytes) -> None:
    patch = decode(data)
    if len(patch) > _MOST_AGAIN:
        return
    again = decode(encode(patch))
    assert (again.flips, again.binding, again.manifest) == (patch.flips, patch.binding, patch.manifest)


def _patch_body(data: bytes) -> None:
    """What stands between the mark and a right checksum."""
    _patch(sealed(data))


def _manifest(data: bytes) -> None:
    """A manifest, once as it is and once compressed."""
    for flags, packed in ((8, data), (24, zlib.compress(data))):
        with suppress(BankaiError):
            _patch(sealed(bytes([1, flags]) + varint(len(packed)) + packed))


def _json(data: bytes) -> None:
    patch = decode_json(data)
    if len(patch) > _MOST_AGAIN:
        return
    assert decode_json(encode_json(patch)) == patch
    with suppress(BankaiError):
        assert decode(encode(patch)) == Patch(patch.flips)


def _sidecar(data: bytes) -> None:
    """JSON as it is; anything else is bodies of patches, which a sidecar then lists. Never raises."""
    if not data.startswith(b"{"):
        lines = [
            {"name": "", "time": "", "patch": base64.b64encode(sealed(body)).decode()}
            for body in data.split(MAGIC)
        ]
        data = json.dumps({"version": 1, "patches": lines}).encode()
    applied, note = load(_put("model.gguf.bankai.json", data))
    assert not (applied and note) and len(note) <= _LONGEST_REFUSAL


def _probes(data: bytes) -> None:
    probes = ProbeSet.load(_put("probes.jsonl", data))
    probes.save(FOLDER / "again.jsonl")
    assert ProbeSet.load(FOLDER / "again.jsonl").digest == probes.digest


def _journal(data: bytes) -> None:
    """What stands behind the mark and a right digest, beside a model: it becomes another of the same size."""
    model = _put("changed.gguf", bytes(range(256)))
    digest = hashlib.blake2b(data, digest_size=16).digest()
    journal = _put("changed.gguf.bankai-journal", b"\xb1JRN" + digest + data)
    try:
        recover(model)
    except StoreError:
        assert model.read_bytes() == bytes(range(256))
        raise
    finally:
        journal.unlink(missing_ok=True)
    assert model.stat().st_size == 256


# The multiples are those of docs/security.md. Patches have a constant, for 1 kB may unpack to a manifest of 78 MB, and
# here each is held twice.
READERS = {
    "gguf": Reader(_gguf, multiple=64),
    "gguf-model": Reader(_gguf_model, multiple=64),
    "safetensors": Reader(_safetensors, multiple=64),
    "mlx": Reader(_mlx, multiple=64, constant=2 * _MIB),
    "patch": Reader(_patch, multiple=4096, constant=192 * _MIB),
    "patch-body": Reader(_patch_body, multiple=4096, constant=192 * _MIB),
    "manifest": Reader(_manifest, multiple=256),
    "json": Reader(_json, multiple=128),
    "sidecar": Reader(_sidecar, multiple=4096, constant=192 * _MIB),
    "probes": Reader(_probes, multiple=64, constant=2 * _MIB),
    "journal": Reader(_journal, multiple=64, constant=2 * _MIB),
}
