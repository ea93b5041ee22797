"""Where fuzzing starts: for each reader sound files as small as can be, and the hostile ones of the other tests."""

import atexit
import base64
import json
import shutil
import tempfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import hostile
import msgspec
from builders import build_tiny_gguf
from hybrid import HYBRID

from bankai.checkpoint.convert import convert
from bankai.checkpoint.gguf import GGUFFile
from bankai.checkpoint.tokenizer_spec import CONTROL, NORMAL, TokenizerSpec
from bankai.patch import Binding, Flip, Manifest, Patch, encode, encode_json
from bankai.patch.codec import MAGIC
from bankai.probes import load_probe_set

__all__ = ["DATA_BYTES", "MLX_PARTS", "seeds"]

MLX_PARTS = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "generation_config.json",
    "model.safetensors",
)
DATA_BYTES = 20_000
"""More than the weights of the smallest model."""

_UP = "model.layers.1.mlp.up_proj"
_BINDING = Binding(b"f" * 8, b"b" * 8, b"a" * 8)
_MANIFEST = Manifest(
    name="n", description="d", seed=7, results={"fixed": 19, "p": 0.5}, metadata={"x": [1, {}]}
)
_PATCHES = (
    Patch.of([Flip(_UP, 7), Flip(_UP, 300), Flip("lm_head", 9)]),
    Patch.of([Flip(_UP, 7, 2), Flip("model.layers.3.experts.2.up", 1, 0), Flip(_UP, 5, 0, 127)], _MANIFEST),
    Patch(frozenset([Flip(_UP, row) for row in range(0, 90, 3)]), _BINDING, _MANIFEST),
    Patch.empty(),
)


def seeds(reader: str) -> list[bytes]:
    """The files to begin with, of the form that the reader of that name in `readers` takes."""
    return _SEEDS[reader]()


def _model(rope: str = "default", **architecture: Any) -> Path:
    """One layer, or what the architecture says, 16 tokens, tied."""
    special = ["<|endoftext|>", "<|im_end|>"]
    tokens = [*"abcdefĠ", "ab", "abc", *special]
    tokenizer = TokenizerSpec(
        tokens=tokens,
        merges=["a b", "ab c"],
        token_types=[NORMAL] * 9 + [CONTROL] * 2,
        eos_id=10,
        pad_id=9,
        chat_template="{{ messages[0].content }}",
        eot_id=8,
        other_templates={"t": "{{ 1 }}"},
    )
    sizes = {"vocab_size": 16, "intermediate_size": 128, "num_hidden_layers": 1, "tie_word_embeddings": True}
    ends = {"eos_token_id": 10, "pad_token_id": 9}
    scaling = (
        {"factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 32.0} if rope == "yarn" else {}
    )
    rotation = {"rope_type": rope, "rope_theta": 10000.0, **scaling}
    settings = {**sizes, **ends, "rope_parameters": rotation, **architecture}
    folder = Path(tempfile.mkdtemp(prefix="bankai-seeds-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build_tiny_gguf(folder / "m.gguf", tokenizer=tokenizer, **settings)


def _hybrid() -> Path:
    """A layer of linear attention and one of full attention."""
    return _model(**HYBRID | {"num_hidden_layers": 2, "intermediate_size": 128})


@cache
def _gguf_model() -> list[bytes]:
    headers = []
    for path in (_model(), _model("yarn"), _hybrid()):
        with GGUFFile(path) as file:
            headers.append(path.read_bytes()[: min(info.offset for info in file.tensors.values())])
    return headers


@cache
def _mlx() -> list[bytes]:
    source = _model("yarn")
    folder = source.with_name("mlx")
    convert(source, folder)
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    generation = (folder / "generation_config.json").read_bytes()
    weights = (folder / "model.safetensors").read_bytes()
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    index = {"weight_map": {name: "model.safetensors" for name in header if name != "__metadata__"}}
    compact = [
        json.dumps(part, separators=(",", ":")).encode() for part in (config, tokenizer, settings, header)
    ]
    whole = [*compact[:3], b"", b"", generation, compact[3]]
    sharded = [*compact[:2], b"", b"{{ 1 }}", json.dumps(index).encode(), b"", compact[3]]
    return [b"\0".join(whole), b"\0".join(sharded)]


def _json() -> list[bytes]:
    exported = [encode_json(Patch(patch.flips - _bits(patch), None, patch.manifest)) for patch in _named()]
    return [*exported, b'{"format":"bankai_row_xor_v1","flips":[],"metadata":{"bankai":{"seed":"x"}}}']


def _named() -> list[Patch]:
    """Those whose tensors the JSON format can name."""
    return [patch for patch in _PATCHES if all("mlp" in flip.tensor for flip in patch.flips)]


def _bits(patch: Patch) -> frozenset[Flip]:
    return frozenset(patch.bits)


def _bodies() -> list[bytes]:
    return [encode(patch)[4:-4] for patch in _PATCHES]


def _sidecar() -> list[bytes]:
    lines = [
        {"name": "n", "time": "2026-01-01T00:00:00Z", "patch": base64.b64encode(encode(patch)).decode()}
        for patch in _PATCHES
    ]
    listing = json.dumps({"version": 1, "patches": lines}).encode()
    return [listing, MAGIC.join(_bodies()), _bodies()[2]]


def _probes() -> list[bytes]:
    lines = [
        msgspec.json.encode(probe)
        for name in ("knowledge", "bonsai-calculus")
        for probe in load_probe_set(name)
    ]
    return [b"\n".join(lines[start : start + 2]) for start in (0, len(lines) // 2, len(lines) - 2)]


def _journal() -> list[bytes]:
    """Of the model of bytes 0 to 255 that `readers` puts beside it: a change not begun, and one half made."""
    made = []
    for old in (bytes([5, 6, 7]), bytes([5 ^ 255, 6, 7])):
        masks = zlib.compress(b"\xff\xff\xff")
        made.append(msgspec.msgpack.encode([1, [["changed.gguf", 256, [(5, 2), (7, 1)], old, masks]]]))
    return made


_SEEDS = {
    "gguf": lambda: [hostile.SOUND_GGUF, *hostile.GGUF_ATTACKS.values(), *hostile.GGUF_UNSUPPORTED.values()],
    "gguf-model": _gguf_model,
    "safetensors": lambda: [hostile.SOUND_SAFETENSORS, *hostile.SAFETENSORS_ATTACKS.values()],
    "mlx": _mlx,
    "patch": lambda: [encode(patch) for patch in _PATCHES],
    "patch-body": _bodies,
    "manifest": lambda: [msgspec.msgpack.encode(_MANIFEST, order="sorted"), b"\x80"],
    "json": _json,
    "sidecar": _sidecar,
    "probes": _probes,
    "journal": _journal,
}
