import base64
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import build_tiny_gguf, flip_bytes, tiny_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bankai.architectures import architecture
from bankai.checkpoint.convert import convert
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import (
    AlreadyAppliedError,
    BankaiError,
    ModelFormatError,
    NotAppliedError,
    RowRangeError,
    StoreError,
    UnboundPatchError,
    UnknownTensorError,
    WrongBaseError,
)
from bankai.patch import Flip, Manifest, Patch, encode, state
from bankai.patching import (
    apply_in_place,
    apply_patch,
    bind_patch,
    revert_in_place,
    revert_patch,
    sidecar_path,
    status,
)
from bankai.quantization.one_bit import signs_of

UP, HEAD = "model.layers.1.mlp.up_proj", "lm_head"
FLIPS = [
    Flip(UP, 3),
    Flip(UP, 200, 0),
    Flip(HEAD, 7),
    Flip("model.layers.0.self_attn.k_proj", 1),
    Flip(UP, 3, 0, 17),  # in a flipped row
    Flip(UP, 200, 0, 127),  # in a flipped group
    Flip(HEAD, 9, 0, 64),
]
SHAPES = architecture("qwen3").matrix_shapes(tiny_config())
RANDOM_FLIPS = st.sampled_from(sorted(SHAPES)).flatmap(
    lambda name: (
        st.builds(
            Flip,
            st.just(name),
            st.integers(0, SHAPES[name][0] - 1),
            st.none() | st.integers(0, SHAPES[name][1] // 128 - 1),
        )
        | st.builds(
            Flip,
            st.just(name),
            st.integers(0, SHAPES[name][0] - 1),
            st.integers(0, SHAPES[name][1] // 128 - 1),
            st.integers(0, 127),
        )
    )
)


def contents(path: Path) -> dict[str, str]:
    """Every file under a directory by its sha256."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(params=["gguf", "mlx"])
def model(request: pytest.FixtureRequest, tmp_path: Path, tiny_gguf: Path) -> Path:
    """A model alone in its directory, in either format."""
    path = tmp_path / "home" / f"m.{request.param}"
    path.parent.mkdir()
    if request.param == "mlx":
        convert(tiny_gguf, path)
    else:
        shutil.copyfile(tiny_gguf, path)
    return path


@pytest.fixture
def gguf(tmp_path: Path, tiny_gguf: Path) -> Path:
    (tmp_path / "home").mkdir()
    return shutil.copyfile(tiny_gguf, tmp_path / "home" / "m.gguf")


def bound(model: Path, flips: list[Flip] = FLIPS, name: str = "p") -> Patch:
    return bind_patch(model, Patch.of(flips, Manifest(name=name)))


def names(model: Path) -> list[str]:
    return [entry.name for entry in status(model).patches]


def test_apply_and_revert_to_new_files(model: Path) -> None:
    before, home = contents(model.parent), model.parent
    patch = bound(model)
    on, off = home / "on", home / "off"
    assert apply_patch(model, patch, on).binding == patch.binding
    assert (status(on, patch).state, status(model, patch).state) == ("applied", "base")
    assert (status(on).state, names(on), status(on).note) == ("applied", ["p"], "")
    with open_checkpoint(model) as old, open_checkpoint(on) as new:
        for name in old.matrices:
            columns = np.unpackbits(
                signs_of(old.packed(name).blocks), axis=2, bitorder="little"
            )  # [out, groups, 128]
            for flip in FLIPS:
                if flip.tensor == name:
                    place = (slice(None) if index is None else index for index in (flip.group, flip.bit))
                    columns[flip.row, *place] ^= 1
            assert (
                signs_of(new.packed(name).blocks) == np.packbits(columns, axis=2, bitorder="little")
            ).all()
    revert_patch(on, patch, off)
    assert (status(off).state, status(off, patch).state) == ("base", "base")
    moved = {name.replace("off", model.name, 1): digest for name, digest in contents(home).items()}
    assert {name: moved[name] for name in before} == before
    assert not any(name.endswith(".tmp") for name in os.listdir(home))


def test_apply_and_revert_in_place(model: Path) -> None:
    before = contents(model.parent)
    model_mode = 0o640
    if model.is_file():
        model.chmod(model_mode)
    patch = bound(model)
    apply_in_place(str(model), patch)
    assert (status(model).state, status(model, patch).state, names(model)) == ("applied", "applied", ["p"])
    changed = {name for name, digest in contents(model.parent).items() if before.get(name) != digest}
    data = "m.gguf" if model.is_file() else "m.mlx/model.safetensors"
    assert changed == {data, str(sidecar_path(model).relative_to(model.parent))}
    assert not model.is_file() or model.stat().st_mode & 0o777 == model_mode
    revert_in_place(model, patch)
    assert contents(model.parent) == before


@given(
    st.lists(st.frozensets(RANDOM_FLIPS, min_size=1, max_size=12), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_patches_come_off_in_any_order(
    model: Path, sets: list[frozenset[Flip]], order: random.Random
) -> None:
    """Overlapping or not, all bound to the base: on one after the other, off in any order, every byte is back."""
    before = contents(model.parent)
    patches = [bind_patch(model, Patch(flips)) for flips in dict.fromkeys(sets)]
    patches = [patch for patch in patches if patch.binding and patch.binding.before != patch.binding.after]
    leaving = order.sample(patches, len(patches))
    for patch in patches:
        assert status(model, patch).state == "base"
        apply_in_place(model, patch)
    assert [status(model, patch).state for patch in patches] == ["applied"] * len(patches)
    for patch in leaving:
        revert_in_place(model, patch)
        assert status(model, patch).state == "base"
    assert contents(model.parent) == before


def test_a_patch_of_a_gguf_goes_on_its_mlx_copy(tmp_path: Path, tiny_gguf: Path) -> None:
    convert(tiny_gguf, tmp_path / "mlx")
    patch = bound(tiny_gguf)
    apply_patch(tmp_path / "mlx", patch, tmp_path / "on")
    convert(tmp_path / "on", tmp_path / "on.gguf")
    assert status(tmp_path / "on.gguf", patch).state == "applied"


# Overlaps


def test_an_overlapping_patch_is_judged_without_the_applied_one(model: Path) -> None:
    first = bound(model, [Flip(UP, 3), Flip(UP, 5)], "first")
    second = bound(model, [Flip(UP, 3), Flip(UP, 3, 0), Flip(HEAD, 1)], "second")
    apply_in_place(model, first)
    assert status(model, second).state == "base"
    apply_in_place(model, second)
    assert (names(model), status(model, first).state) == (["first", "second"], "applied")
    third = bound(model, [Flip(UP, 5, 0)], "third")  # bound to the bits without both
    assert status(model, third).state == "base"
    revert_in_place(model, first)
    assert (names(model), status(model, second).state, status(model, first).state) == (
        ["second"],
        "applied",
        "base",
    )


def test_bits_of_one_group_are_judged_without_each_other(model: Path) -> None:
    """Their digests cover the same group: only the list of the first makes sense of the second."""
    before = contents(model.parent)
    first = bound(model, [Flip(UP, 3, 0, 5)], "first")
    second = bound(model, [Flip(UP, 3, 0, 5), Flip(UP, 3, 0, 6), Flip(UP, 3)], "second")
    for patch in (first, second):
        apply_in_place(model, patch)
    assert (names(model), status(model, first).state) == (["first", "second"], "applied")
    revert_in_place(model, first)
    with open_checkpoint(model) as checkpoint:
        assert state(checkpoint, second) == "applied"
    revert_in_place(model, second)
    assert contents(model.parent) == before


def test_without_its_sidecar_an_overlap_is_foreign(model: Path) -> None:
    first, second = bound(model, [Flip(UP, 3)], "first"), bound(model, [Flip(UP, 3), Flip(HEAD, 1)], "second")
    apply_in_place(model, first)
    sidecar_path(model).unlink()
    assert (status(model).state, status(model, first).state) == ("base", "applied")
    with pytest.raises(WrongBaseError, match="changed by something else"):
        apply_in_place(model, second)


def test_a_patch_bound_over_another_names_it(model: Path) -> None:
    down = "model.layers.1.mlp.down_proj"
    first = bound(model, [Flip(down, 3)], "first")
    apply_in_place(model, first)
    sidecar = sidecar_path(model).read_bytes()
    sidecar_path(model).unlink()
    over = bound(
        model, [Flip(down, 3, 1), Flip(down, 4)], "over"
    )  # its before-state has the first patch in it
    sidecar_path(model).write_bytes(sidecar)
    with pytest.raises(WrongBaseError, match="with or without first; `bankai bind` it"):
        apply_in_place(model, over)
    apply_in_place(model, bind_patch(model, over))
    assert names(model) == ["first", "over"]


# Refusals


@pytest.fixture
def refused(model: Path) -> Callable[..., None]:
    """Each way of changing a model raises, and nothing is changed or left behind."""

    def check(
        error: type[BankaiError], message: str, patch: Patch, revert: bool = False, **options: bool
    ) -> None:
        before = contents(model.parent)
        new, here = (revert_patch, revert_in_place) if revert else (apply_patch, apply_in_place)
        with pytest.raises(error, match=message):
            new(model, patch, model.parent / "out", **options)
        with pytest.raises(error, match=message):
            here(model, patch, **options)
        assert contents(model.parent) == before
        assert sorted(os.listdir(model.parent)) == sorted({name.split("/")[0] for name in before})

    return check


def test_wrong_state_is_refused(model: Path, refused: Callable[..., None]) -> None:
    patch = bound(model)
    refused(NotAppliedError, "bankai apply", patch, revert=True)
    apply_in_place(model, patch)
    refused(AlreadyAppliedError, "bankai revert", patch)
    refused(AlreadyAppliedError, "bankai revert", patch.unbound(), unbound=True)


def test_another_model_is_refused(tmp_path: Path, refused: Callable[..., None]) -> None:
    patch = bound(build_tiny_gguf(tmp_path / "other.gguf", seed=1))
    for revert in (False, True):
        refused(WrongBaseError, "another model", patch, revert=revert)


def test_foreign_bits_are_refused(model: Path, refused: Callable[..., None]) -> None:
    patch = bound(model)
    flip_bytes(model, Flip(UP, 3, 0, 0))
    refused(WrongBaseError, "fresh copy", patch)
    refused(WrongBaseError, "fresh copy", patch, revert=True)
    assert status(model, patch).state == "foreign"


def test_unbound_patches_are_refused(model: Path, refused: Callable[..., None]) -> None:
    refused(UnboundPatchError, "--unbound", Patch.of(FLIPS))
    refused(UnboundPatchError, "bind it to the base first: bankai bind", Patch.of(FLIPS), revert=True)
    with pytest.raises(UnboundPatchError, match="bankai bind"):
        status(model, Patch.of(FLIPS))


@pytest.mark.parametrize("unbound", [False, True])
@pytest.mark.parametrize(
    ("flip", "error"),
    [
        (Flip("model.layers.2.mlp.up_proj", 0), UnknownTensorError),
        (Flip("model.norm", 0), UnknownTensorError),
        (Flip(UP, 256), RowRangeError),
        (Flip(UP, 0, 1), RowRangeError),
        (Flip(UP, 256, 0, 5), RowRangeError),
        (Flip(UP, 0, 1, 5), RowRangeError),
    ],
)
def test_places_the_model_lacks_are_refused(
    model: Path, refused: Callable[..., None], flip: Flip, error: type[BankaiError], unbound: bool
) -> None:
    refused(error, "use the model", Patch.of([*FLIPS, flip]), unbound=unbound)
    forged = Patch(frozenset([*FLIPS, flip]), bound(model).binding)
    refused(error, "use the model", forged, unbound=unbound)
    with pytest.raises(error):
        status(model, forged)


def test_existing_outputs_are_refused(model: Path) -> None:
    before, patch = contents(model.parent), bound(model)
    for out in (model, model.parent):
        with pytest.raises(StoreError, match="exists"):
            apply_patch(model, patch, out)
    (model.parent / "link").symlink_to("nowhere")
    with pytest.raises(StoreError, match="exists"):
        apply_patch(model, patch, model.parent / "link")
    with pytest.raises(StoreError, match="absent"):
        apply_patch(model, patch, model.parent / "absent" / "out")
    assert contents(model.parent) == before


def test_links_and_read_only_models_are_not_changed_in_place(model: Path, tmp_path: Path) -> None:
    before, patch = contents(model.parent), bound(model)
    file = model if model.is_file() else model / "model.safetensors"
    (tmp_path / "link").symlink_to(model)
    with pytest.raises(StoreError, match="is a link"):
        apply_in_place(tmp_path / "link", patch)
    os.link(file, tmp_path / "second")
    with pytest.raises(StoreError, match="2 names"):
        apply_in_place(model, patch)
    (tmp_path / "second").unlink()
    file.chmod(0o444)
    with pytest.raises(StoreError, match="read-only"):
        apply_in_place(model, patch)
    assert contents(model.parent) == before
    apply_patch(model, patch, model.parent / "out")  # a copy may be made of all of them
    assert status(model.parent / "out").state == "applied"


def test_a_linked_shard_is_not_changed_in_place(tmp_path: Path, tiny_gguf: Path) -> None:
    model = tmp_path / "mlx"
    convert(tiny_gguf, model)
    (model / "model.safetensors").rename(model / "blob.safetensors")
    (model / "model.safetensors").symlink_to("blob.safetensors")
    with pytest.raises(StoreError, match="is a link"):
        apply_in_place(model, bound(model))


def test_built_in_models_stay_as_they_are(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The true list of built-in models grows when `nano` ships; here it is this file."""
    for room in ("bankai.checkpoint.model_file", "bankai.patching.changeable"):
        monkeypatch.setattr(f"{room}.builtin_models", lambda: {"tiny": gguf})
    before, patch = contents(gguf.parent), bound(gguf)
    for name in ("tiny", str(gguf), gguf):
        with pytest.raises(StoreError, match="built in"):
            apply_in_place(name, patch)
    assert contents(gguf.parent) == before
    apply_patch("tiny", patch, gguf.parent / "out.gguf")
    assert status(gguf.parent / "out.gguf").state == "applied"


def test_no_model(tmp_path: Path) -> None:
    patch = Patch.of(FLIPS)
    for attempt in (
        lambda path: apply_in_place(path, patch),
        lambda path: apply_patch(path, patch, tmp_path / "o"),
    ):
        with pytest.raises(ModelFormatError, match="does not exist"):
            attempt(tmp_path / "absent.gguf")
    with pytest.raises(ModelFormatError, match="check the path"):
        apply_in_place(tmp_path / "no" / "absent.gguf", patch)


# MLX in several files


@pytest.fixture
def shards(tmp_path: Path, tiny_gguf: Path) -> Path:
    """An MLX directory in two files: layer 0 in the first, the rest in the second."""
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "home" / "sharded"
    path.parent.mkdir()
    convert(tiny_gguf, path)
    tensors = load_file(path / "model.safetensors")
    shard_of = {name: f"model-{1 if '.layers.0.' in name else 2}.safetensors" for name in tensors}
    for shard in set(shard_of.values()):
        save_file({name: tensors[name] for name in tensors if shard_of[name] == shard}, path / shard)
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shard_of}))
    return path


def test_only_the_touched_shard_is_changed(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, inode = contents(shards), (shards / "model-1.safetensors").stat().st_ino
    patch = bound(shards, [Flip(UP, 3), Flip(HEAD, 2)])
    monkeypatch.chdir(shards)
    apply_in_place(".", patch)
    after = contents(shards)
    assert {name for name in after if before.get(name) != after[name]} == {
        "bankai.json",
        "model-2.safetensors",
    }
    assert (shards / "model-1.safetensors").stat().st_ino == inode
    revert_in_place(shards, patch)
    assert contents(shards) == before and os.listdir(shards.parent) == ["sharded"]


def test_two_shards_change_in_place(shards: Path) -> None:
    before, patch = contents(shards), bound(shards)
    apply_patch(shards, patch, shards.parent / "out")
    apply_in_place(shards, patch)
    changed, copied = contents(shards), contents(shards.parent / "out")
    assert {name: copied[name] for name in before} == {name: changed[name] for name in before}
    revert_in_place(shards, patch)
    assert contents(shards) == before


# Unbound and empty patches


def test_an_unbound_patch_is_bound_on_the_way(model: Path) -> None:
    before, patch = contents(model.parent), Patch.of(FLIPS, Manifest(name="imported"))
    apply_in_place(model, patch, unbound=True)
    assert status(model).patches[0].patch.binding is not None
    assert (names(model), status(model, patch).state) == (["imported"], "applied")
    with pytest.raises(AlreadyAppliedError):
        apply_in_place(model, patch)
    revert_in_place(model, patch)  # the sidecar knows its binding
    assert contents(model.parent) == before


def test_an_unbound_patch_comes_off_only_when_it_is_listed(
    model: Path, refused: Callable[..., None], tmp_path: Path
) -> None:
    """XOR takes off what is on and puts on what is not: without a list or a binding, nobody knows which."""
    base, patch = tmp_path / f"base{model.suffix}", Patch.of(FLIPS)
    (shutil.copytree if model.is_dir() else shutil.copyfile)(model, base)
    before = contents(model.parent)
    apply_in_place(model, patch, unbound=True)
    sidecar = sidecar_path(model).read_bytes()
    sidecar_path(model).unlink()
    refused(UnboundPatchError, "bankai bind", patch, revert=True)
    flip_bytes(model, Flip(UP, 3))  # a false list does not count
    sidecar_path(model).write_bytes(sidecar)
    refused(UnboundPatchError, "bankai bind", patch, revert=True)
    flip_bytes(model, Flip(UP, 3))
    sidecar_path(model).unlink()
    revert_in_place(model, bind_patch(base, patch))  # as the refusal says
    assert contents(model.parent) == before


def test_an_unbound_patch_over_an_applied_one(model: Path) -> None:
    before = contents(model.parent)
    first, second = bound(model, [Flip(UP, 3)], "first"), Patch.of([Flip(UP, 3), Flip(HEAD, 1)])
    apply_in_place(model, first)
    second = apply_in_place(model, second, unbound=True)
    revert_in_place(model, first)
    assert status(model, second).state == "applied"
    revert_in_place(model, second)
    assert contents(model.parent) == before


def test_the_empty_patch_changes_nothing(model: Path) -> None:
    before = contents(model.parent)
    empty = bind_patch(model, Patch.empty())
    apply_in_place(model, empty)
    apply_in_place(model, Patch.empty(), unbound=True)
    revert_in_place(model, empty)
    assert contents(model.parent) == before
    apply_patch(model, empty, model.parent / "out")
    revert_patch(model.parent / "out", empty, model.parent / "back")
    assert status(model.parent / "back").state == "base"
    assert not sidecar_path(model.parent / "out").exists()


# The sidecar


def line(value: Patch, **changes: object) -> dict[str, object]:
    return {"name": "x", "time": "t", "patch": base64.b64encode(encode(value)).decode(), **changes}


def listing(*lines: object) -> bytes:
    return json.dumps({"version": 1, "patches": lines}).encode()


def test_a_list_that_the_bits_contradict_is_foreign(model: Path, tmp_path: Path) -> None:
    patch = bound(model)
    other = build_tiny_gguf(tmp_path / "other.gguf", seed=1)
    lacking = Patch(frozenset([Flip(UP, 999)]), patch.binding)
    for lines in ([patch], [bound(other)], [lacking]):
        sidecar_path(model).write_bytes(listing(*map(line, lines)))
        found = status(model)
        assert (found.state, found.patches) == ("foreign", ())
        assert "contradict" in found.note
        assert status(model, patch).state == "base"
    apply_in_place(model, patch)
    assert (status(model).state, names(model)) == ("applied", ["p"])


def test_no_list_is_no_proof_of_the_base(model: Path) -> None:
    patch = bound(model)
    note = "no record of applied patches; `bankai status MODEL PATCH` checks one"
    assert (status(model).state, status(model).note) == ("base", note)
    apply_in_place(model, patch)
    assert status(model).note == ""
    sidecar_path(model).unlink()
    assert (status(model).state, status(model).note) == ("base", note)
    assert (status(model, patch).state, status(model, patch).note) == ("applied", "")


def test_a_list_can_be_half_true_only_if_it_is_whole(model: Path) -> None:
    first, second = bound(model, [Flip(UP, 1)]), bound(model, [Flip(UP, 2)])
    apply_in_place(model, first)
    sidecar_path(model).write_bytes(listing(line(first), line(second)))
    assert status(model).state == "foreign"
    assert status(model, first).state == "applied"


@pytest.mark.parametrize("on", [False, True])
def test_a_pending_line_counts_when_the_bits_agree(model: Path, on: bool) -> None:
    patch, other = bound(model, [Flip(UP, 1)]), bound(model, [Flip(UP, 1, 0), Flip(UP, 2)])
    apply_in_place(model, other)
    if on:
        apply_in_place(model, patch)
    sidecar_path(model).write_bytes(listing(line(other), line(patch, pending=True)))
    assert [entry.patch for entry in status(model).patches] == ([other, patch] if on else [other])
    assert not any(entry.pending for entry in status(model).patches)
    assert status(model, patch).state == ("applied" if on else "base")


PATCH = Patch.of(FLIPS)
HOSTILE = {
    "empty": b"",
    "not json": b"\xff\xfe",
    "wrong type": b"[]",
    "wrong version": b'{"version":2,"patches":[]}',
    "no patches": b'{"version":1}',
    "patch not base64": listing(line(PATCH, patch="!")),
    "patch malformed": listing(line(PATCH, patch="AAAA")),
    "patch a number": listing(line(PATCH, patch=7)),
    "unbound patch": listing(line(PATCH)),
    "many lines": listing(*[line(Patch.empty())] * 257),
    "huge": b" " * (4 << 20) + b"{}",
    "deep": b'{"version":1,"patches":' + b"[" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sidecars_are_told_and_kept(model: Path, name: str) -> None:
    patch = bound(model)
    sidecar_path(model).write_bytes(HOSTILE[name])
    found = status(model)
    assert (found.state, found.patches) == ("base", ())
    assert "is ignored" in found.note
    before = contents(model.parent)
    with pytest.raises(StoreError, match="is ignored: .*; move it away, or write a copy"):
        apply_in_place(model, patch)
    assert contents(model.parent) == before


def test_flips_without_end_are_hostile(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bankai.patching.sidecar._MAX_FLIPS", 5)
    lines = [line(bound(gguf, [Flip(UP, row), Flip(UP, row + 1), Flip(UP, row + 2)])) for row in (0, 5)]
    sidecar_path(gguf).write_bytes(listing(*lines))
    assert "patch 2 of 2: the patch file has more than 2 flips" in status(gguf).note  # 3 of 5 are taken


def test_one_patch_listed_twice_is_hostile(model: Path) -> None:
    patch = bound(model)
    sidecar_path(model).write_bytes(listing(line(patch), line(patch)))
    assert "twice" in status(model).note


def test_a_sidecar_that_is_no_file(gguf: Path) -> None:
    patch = bound(gguf)
    before = gguf.read_bytes()
    os.mkfifo(sidecar_path(gguf))
    assert "not a regular file" in status(gguf).note
    sidecar_path(gguf).unlink()
    sidecar_path(gguf).mkdir()
    assert "not a regular file" in status(gguf).note
    with pytest.raises(StoreError, match="move it away"):
        apply_in_place(gguf, patch)
    assert gguf.read_bytes() == before


def test_a_sidecar_without_a_model_does_not_matter(gguf: Path) -> None:
    patch, out = bound(gguf), gguf.parent / "out.gguf"
    sidecar_path(out).write_bytes(b"left over")
    apply_patch(gguf, patch, out)
    assert names(out) == ["p"]
    off = gguf.parent / "off.gguf"
    sidecar_path(off).write_bytes(b"left over")
    revert_patch(out, patch, off)
    assert not sidecar_path(off).exists()


@pytest.mark.parametrize("limit", ["_MAX_PATCHES", "_MAX_FLIPS"])
def test_the_list_has_an_end(gguf: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(f"bankai.patching.sidecar.{limit}", 1)
    apply_in_place(gguf, bound(gguf, [Flip(UP, 1)], "one"))
    before = contents(gguf.parent)
    with pytest.raises(StoreError, match="bankai compose"):
        apply_in_place(gguf, bound(gguf, [Flip(UP, 2)], "two"))
    assert contents(gguf.parent) == before
