"""A running, unmodified llama.cpp in another process, whose mapped file is swapped under it."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders import LLAMA, build_tiny_gguf

from bankai.checkpoint.model_file import builtin_models
from bankai.patch import Flip, Manifest, Patch
from bankai.patching import LiveModel, apply_patch, bind_patch

pytestmark = pytest.mark.engines

# Answers every line on its input with the digest of its logits. `reset` drops the KV cache.
SERVER = """
import hashlib, sys
from llama_cpp import Llama
settings = dict(n_ctx=64, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False)
llama = Llama(sys.argv[1], use_mmap=sys.argv[2] == "map", **settings)
for _ in sys.stdin:
    llama.reset()
    llama.eval([1, 5, 9, 200, 31, 7, 77, 13])
    print(hashlib.sha256(llama.scores[:8].tobytes()).hexdigest(), flush=True)
"""
NANO = {
    "a": [
        Flip(f"model.layers.{layer}.mlp.{name}_proj", row)
        for layer in (0, 2)
        for name in ("up", "down")
        for row in (3, 9)
    ],
    "b": [Flip("model.layers.1.self_attn.o_proj", 5), Flip("model.layers.0.mlp.up_proj", 3)],
}
# Rows, groups and bits that lie elsewhere in the file than their numbers say.
HYBRID = {
    "a": [
        *(Flip(f"model.layers.0.linear_attn.in_proj_{name}", 5) for name in "zab"),
        Flip("model.layers.2.linear_attn.in_proj_qkv", 900, 1),
        Flip("model.layers.2.linear_attn.out_proj", 17, 4, 77),
    ],
    "b": [Flip("model.layers.0.linear_attn.in_proj_z", 5), Flip("model.layers.0.linear_attn.out_proj", 3, 1)],
}
# Of `builders`, in the types that llama.cpp computes with where they lie.
OTHERS = {
    "a": [Flip("model.layers.0.mlp.up_proj", 5), Flip("model.layers.1.self_attn.q_proj", 70, 1)],
    "b": [Flip("model.layers.0.mlp.up_proj", 5), Flip("model.layers.1.mlp.down_proj", 3, 0)],
}
FLIPS = {"nano": NANO, "hybrid": HYBRID} | dict.fromkeys(("Q4_1", "Q8_0", "F16", "BF16", "F32"), OTHERS)


@pytest.fixture
def serving() -> Iterator[Callable[[Path, str], Callable[[], str]]]:
    """Starts a server on a model; what it gives back asks for the digest of the logits."""
    started = []

    def serve(model: Path, mode: str = "map") -> Callable[[], str]:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(model), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(server)

        def ask() -> str:
            assert server.stdin is not None and server.stdout is not None
            server.stdin.write("\n")
            server.stdin.flush()
            return server.stdout.readline()

        return ask

    yield serve
    for server in started:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("volatile", [False, True])
@pytest.mark.parametrize("kind", FLIPS)
def test_a_running_llama_follows(
    tmp_path: Path, hybrid_gguf: Path, serving: Callable[..., Callable[[], str]], kind: str, volatile: bool
) -> None:
    """Logits after each swap are those of a fresh load of the patched file, bit for bit; in the end the base's."""
    model = tmp_path / "model.gguf"
    if kind in ("nano", "hybrid"):
        shutil.copyfile(hybrid_gguf if kind == "hybrid" else builtin_models()["nano"], model)
    else:
        build_tiny_gguf(model, kind=kind, **LLAMA)
    a, b = (bind_patch(model, Patch.of(flips, Manifest(name=name))) for name, flips in FLIPS[kind].items())
    fresh = {}
    for name, patch in (("a", a), ("b", b)):
        apply_patch(model, patch, tmp_path / f"{name}.gguf")
        fresh[name] = serving(tmp_path / f"{name}.gguf")()
    apply_patch(tmp_path / "a.gguf", b, tmp_path / "ab.gguf")
    fresh["ab"] = serving(tmp_path / "ab.gguf")()
    ask = serving(model)
    fresh["base"] = ask()
    assert len(set(fresh.values())) == 4
    with LiveModel(model) as live:
        for name, patches in (("a", [a]), ("b", [b]), ("ab", [a, b]), ("base", []), ("a", [a]), ("base", [])):
            live.swap(*patches, volatile=volatile)
            assert ask() == fresh[name]


def test_without_a_map_it_does_not(tmp_path: Path, serving: Callable[..., Callable[[], str]]) -> None:
    """The limit that the documentation names."""
    model = Path(shutil.copyfile(builtin_models()["nano"], tmp_path / "nano.gguf"))
    ask = serving(model, "copy")
    before = ask()
    with LiveModel(model) as live:
        live.swap(bind_patch(model, Patch.of(NANO["a"])))
        assert ask() == before
        live.swap()
