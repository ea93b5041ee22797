"""Writes the golden files of this folder. It was run once, on commit 2a18b07, the last before quantizations were values.

    python tests/golden/make.py DIR

It uses that commit's own modules and commands, so it does not run on a later one; it is kept to show what the files
are. `tests/golden/test_golden.py` holds today's code to them.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from bankai.formats.checkpoint import builtin_models, open_checkpoint
from bankai.formats.journal import Edit, journal_path, locked
from bankai.formats.synth import synthesize
from bankai.patch import Flip, Manifest, Patch, bind, read_patch, write_patch
from bankai.probes import load_probe_set
from bankai.store import apply_patch
from bankai.store.places import edits

LAYER = "model.layers.{}.{}"
NANO = {
    "rows": [
        Flip(LAYER.format(layer, path), row)
        for layer, path, row in (
            (0, "mlp.gate_proj", 3),
            (0, "mlp.gate_proj", 17),
            (1, "mlp.up_proj", 200),
            (2, "mlp.down_proj", 5),
            (3, "self_attn.q_proj", 9),
        )
    ],
    "mixed": [
        Flip("model.embed_tokens", 511, 0),
        Flip(LAYER.format(1, "mlp.down_proj"), 7, 1),
        Flip(LAYER.format(1, "mlp.down_proj"), 7, 1, 127),
        Flip(LAYER.format(1, "mlp.down_proj"), 8),
        Flip(LAYER.format(1, "mlp.down_proj"), 8, 0, 4),
        Flip(LAYER.format(2, "self_attn.o_proj"), 0, 0, 0),
    ],
}
HYBRID = [
    Flip(LAYER.format(0, "linear_attn.in_proj_qkv"), 900),
    Flip(LAYER.format(0, "linear_attn.in_proj_z"), 130),
    Flip(LAYER.format(1, "linear_attn.out_proj"), 4, 3),
    Flip(LAYER.format(1, "linear_attn.out_proj"), 4, 5, 9),
    Flip(LAYER.format(3, "self_attn.q_proj"), 11),
    Flip(LAYER.format(2, "mlp.up_proj"), 40),
]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bound(model: Path, name: str, flips: list[Flip]) -> Patch:
    manifest = Manifest(name=name, description=f"golden {name}", base_model=model.stem, seed=7)
    with open_checkpoint(model) as checkpoint:
        return bind(Patch.of(flips, manifest), checkpoint)


def bankai(folder: Path, *arguments: str, wanted: int = 0, text: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bankai", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "BANKAI_KEY_PASSWORD": "", "XDG_CONFIG_HOME": str(folder)},
        input=text,
        capture_output=True,
        text=True,
    )
    assert done.returncode == wanted, (arguments, done)
    return done.stdout


def half_made(model: Path, patch: Patch) -> bytes:
    """The journal of a change that was killed when all of its bytes were written."""
    from bankai.formats import journal

    with open_checkpoint(model) as checkpoint:
        places: list[Edit] = edits(checkpoint, patch.flips)
    kept = b""

    def keep() -> None:
        nonlocal kept
        kept = journal_path(model).read_bytes()

    with locked(model):
        journal.change(model, places, keep)
    return kept


def fields(value: Any) -> Any:
    """The names of a document's fields, and the types of its values; of a list its first entry."""
    if isinstance(value, dict):
        return {key: fields(item) for key, item in value.items()}
    if isinstance(value, list):
        return [fields(value[0])] if value else []
    return type(value).__name__


def main(out: Path) -> None:
    out.mkdir(exist_ok=True)
    nano = out / "nano.gguf"
    shutil.copy(builtin_models()["nano"], nano)
    facts: dict[str, Any] = {"nano": digest(nano)}
    for name, flips in NANO.items():
        write_patch(bound(nano, name, flips), out / f"{name}.bankai")
        apply_patch(nano, read_patch(out / f"{name}.bankai"), out / "patched.gguf")
        facts[name] = digest(out / "patched.gguf")
        if name == "rows":
            shutil.copy(out / "patched.gguf.bankai.json", out / "rows.sidecar.json")
        (out / "patched.gguf").unlink()
        (out / "patched.gguf.bankai.json").unlink()
    (out / "rows.bankai-journal").write_bytes(half_made(nano, read_patch(out / "rows.bankai")))
    assert digest(nano) == facts["rows"]  # what the journal undoes
    shutil.copy(builtin_models()["nano"], nano)
    hybrid = synthesize(out / "hybrid.gguf", "tiny-hybrid", seed=1)
    write_patch(bound(hybrid, "hybrid", HYBRID), out / "hybrid.bankai")
    apply_patch(hybrid, read_patch(out / "hybrid.bankai"), out / "patched.gguf")
    facts |= {"hybrid base": digest(hybrid), "hybrid": digest(out / "patched.gguf")}
    (out / "patched.gguf").unlink()
    (out / "patched.gguf.bankai.json").unlink()
    hybrid.unlink()

    documents: list[Any] = []

    def document(*arguments: str, wanted: int = 0, text: str = "") -> None:
        printed = bankai(out, *arguments, "--json", wanted=wanted, text=text)
        documents.append([arguments, fields(json.loads(printed))])

    probes = load_probe_set("elicitable")
    few = [probe for split in ("target", "validation", "control") for probe in probes.split(split)[::12]]
    few += [probe for split in ("heldout", "unseen") for probe in probes.split(split)[::40]]
    (out / "few.jsonl").write_bytes(b"\n".join(msgspec.json.encode(probe) for probe in few))
    (out / "rows.csv").write_text(
        "prompt,answer\nWhat is 3 + 4?,7\nWhat is 2 + 2?,4\nThe capital of France is,Paris\n"
    )
    bankai(out, "keygen", "-o", "author", "--no-password")
    bankai(out, "sign", "rows.bankai", "--key", "author.key")
    document("trust", "author.pub")
    document("trust", "--list")
    document("verify", "rows.bankai")
    document("library", "add", "patches.db", "rows.bankai", "mixed.bankai", "--tag", "golden")
    document("library", "list", "patches.db")
    document("library", "search", "patches.db", "--base", "nano")
    document("library", "show", "patches.db", "rows")
    document("library", "overlap", "patches.db", "rows")
    document("library", "check", "patches.db")
    document("library", "policy", "patches.db")
    document("library", "export", "patches.db", "rows", "-o", "exported.bankai")
    document("info", "rows.bankai")
    document("info", "mixed.bankai", "--model", "nano")
    document("model", "nano")
    document("synth", "--shape", "tiny", "-o", "tiny.gguf")
    document("convert", "nano.gguf", "nano-mlx")
    document("status", "nano.gguf", "rows.bankai")
    document("apply", "nano.gguf", "rows.bankai", "-o", "patched.gguf")
    document("status", "patched.gguf")
    document("revert", "patched.gguf", "rows.bankai", "--in-place")
    document("apply", "patched.gguf", "rows.bankai", "--in-place")
    document("swap", "patched.gguf", "--to", "mixed.bankai")
    document("recover", "patched.gguf")
    document("bind", "rows.bankai", "--model", "nano", "-o", "bound.bankai")
    document("compose", "rows.bankai", "mixed.bankai", "-o", "both.bankai")
    document("export", "rows.bankai", "--base", "nano", "--to", "peft", "-o", "peft")
    document("generate", "nano", "What is 3 + 4?", "--max-tokens", "4")
    document("eval", "nano", "--probes", "few.jsonl")
    document("eval", "nano", "--probes", "few.jsonl", "--patch", "rows.bankai", "--null", "2")
    document("eval", "nano", "--text", "nano-neutral", "--patch", "rows.bankai")
    document("probes", "audit", "few.jsonl", "--model", "nano", wanted=0)
    document("probes", "from-failures", "rows.csv", "--model", "nano", "-o", "made.jsonl")
    document("search", "nano", "--target", "few.jsonl", "-o", "p.bankai", "--plan")
    document("search", "nano", "--target", "few.jsonl", "-o", "p.bankai", "--budget", "60")
    document("experiment", "list")
    (out / "documents.json").write_text(json.dumps(documents, indent=1) + "\n")

    # A run that was cut off after its second round.
    from bankai.jobs import search as jobs
    from bankai.jobs.task import Task
    from bankai.search import SearchSettings

    os.chdir(out)
    rounds = 0

    class Enough(Exception):
        pass

    def stop(label: str, settings: Any, event: Any) -> None:
        nonlocal rounds
        rounds += type(event).__name__ == "Ranked"
        if rounds == 3:
            raise Enough

    os.environ["OMP_NUM_THREADS"] = "1"
    jobs.threads_of = lambda _: 1
    try:
        task = Task.of([load_probe_set("few.jsonl")])
        jobs.search_file("nano", Path("cut.bankai"), task, SearchSettings(budget=160), stop)
    except Enough:
        pass
    shutil.move("cut.run", "run")
    facts["flips of the run"] = len(json.loads((out / "run" / "state.json").read_text())["state"]["flips"])
    (out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    for name in (
        "author.key",
        "exported.bankai",
        "exported.bankai.minisig",
        "bound.bankai",
        "both.bankai",
        "tiny.gguf",
        "patched.gguf",
        "made.jsonl",
        "patched.gguf.bankai.json",
        "p.bankai",
        "nano.gguf",
        "few.jsonl",
        "rows.csv",
    ):
        (out / name).unlink(missing_ok=True)
    for name in ("nano-mlx", "peft", "p.run", "bankai"):
        shutil.rmtree(out / name, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
