"""A model swapped between patch sets while it is held open, durably and through the map."""

import hashlib
import itertools
import mmap
import os
import shutil
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from builders import build_tiny_gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bankai.checkpoint.convert import convert
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import ModelFormatError, StoreError, UnboundPatchError, WrongBaseError
from bankai.journal import journal_path
from bankai.patch import Flip, Manifest, Patch, digest
from bankai.patching import (
    LiveModel,
    apply_in_place,
    apply_patch,
    bind_patch,
    recover,
    revert_patch,
    sidecar_path,
    status,
)
from bankai.patching.edits import edits
from bankai.patching.ledger import Ledger
from bankai.patching.transition import Transition

UP, HEAD = "model.layers.1.mlp.up_proj", "lm_head"
SETS = {
    "a": [Flip(UP, 3), Flip(HEAD, 7), Flip(HEAD, 9, 0, 64)],
    "b": [Flip(UP, 3), Flip(HEAD, 7, 0), Flip(UP, 200, 0, 5)],  # overlaps a
    "c": [Flip("model.layers.0.self_attn.k_proj", 1), Flip("model.embed_tokens", 2, 0)],
}


@pytest.fixture(params=["gguf", "mlx"])
def model(request: pytest.FixtureRequest, tmp_path: Path, tiny_gguf: Path) -> Path:
    path = tmp_path / f"m.{request.param}"
    if request.param == "mlx":
        convert(tiny_gguf, path)
    else:
        path.write_bytes(tiny_gguf.read_bytes())
    return path


def data_file(model: Path) -> Path:
    return model / "model.safetensors" if model.is_dir() else model


@pytest.fixture
def patches(model: Path) -> dict[str, Patch]:
    return {name: bind_patch(model, Patch.of(flips, Manifest(name=name))) for name, flips in SETS.items()}


@pytest.mark.parametrize("volatile", [False, True])
def test_every_way_between_sets(model: Path, patches: dict[str, Patch], volatile: bool) -> None:
    """Twice, the second time remembered: the file is that of the patches applied one by one to a copy."""
    sets = [names for size in range(4) for names in itertools.combinations("abc", size)]
    expected = {}
    for names in sets:
        source = model
        for name in names:
            apply_patch(source, patches[name], out := model.parent / f"{'-'.join(names)}.{name}")
            source = out
        expected[names] = data_file(source).read_bytes()
    with LiveModel(model) as live:
        ways = [*itertools.permutations(sets, 2)]
        for before, after in ways * 2 if volatile else ways[::3]:
            live.swap(*map(patches.get, before), volatile=volatile)  # type: ignore[arg-type]
            live.swap(*map(patches.get, after), volatile=volatile)  # type: ignore[arg-type]
            assert set(live.applied) == {patches[name] for name in after}
            assert data_file(model).read_bytes() == expected[after]
    assert {entry.name for entry in status(model).patches} == set(after) and not journal_path(model).exists()


def test_only_what_differs_is_touched(model: Path, patches: dict[str, Patch]) -> None:
    with open_checkpoint(model) as checkpoint:
        columns = checkpoint.matrices[UP].shape[1]
    with LiveModel(model) as live:
        assert live.swap(patches["a"]) == columns // 8 + 16 + 1  # the head has one group
        assert live.swap(patches["a"], volatile=True) == 0
        # The row of up is in both; a flips the head's row, b its only group: the same bits.
        assert live.swap(patches["b"], volatile=True) == 1 + 1
        assert live.swap() == columns // 8 + 16 + 1


def test_a_map_of_another_process_sees_it_at_once(model: Path, patches: dict[str, Patch]) -> None:
    """A shared map, as llama.cpp has one, made before the swap."""
    with open(data_file(model), "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as seen:
        before = bytes(seen)
        with LiveModel(model) as live:
            for volatile in (False, True):
                live.swap(patches["a"], volatile=volatile)
                assert bytes(seen) == data_file(model).read_bytes() != before
                live.swap(volatile=volatile)
                assert bytes(seen) == before


def test_what_is_on_already_stays(model: Path, patches: dict[str, Patch]) -> None:
    apply_in_place(model, patches["a"])
    sidecar_path(model).unlink()  # only the bits know
    with LiveModel(model) as live:
        assert live.applied == ()
        assert live.swap(patches["a"], patches["c"]) > 0
        assert set(live.applied) == {patches["a"], patches["c"]}
    assert {entry.name for entry in status(model).patches} == {"a", "c"}


def test_what_was_found_on_is_not_remembered(model: Path, patches: dict[str, Patch]) -> None:
    """Once it was taken off, the same way changes bits."""
    apply_in_place(model, patches["a"])
    expected = data_file(model).read_bytes()
    sidecar_path(model).unlink()
    with LiveModel(model) as live:
        assert live.swap(patches["a"], volatile=True) == 0
        assert live.swap(volatile=True) == live.swap(patches["a"], volatile=True) > 0
    assert data_file(model).read_bytes() == expected and status(model).state == "applied"


@pytest.mark.parametrize("volatile", [False, True])
def test_a_closed_model_changes_nothing(model: Path, patches: dict[str, Patch], volatile: bool) -> None:
    with LiveModel(model) as live:
        live.swap(patches["a"], volatile=True)
    apply_in_place(model, patches["c"])  # somebody else
    before, record = data_file(model).read_bytes(), sidecar_path(model).read_bytes()
    for use in (
        lambda: live.swap(patches["a"], volatile=volatile),
        lambda: live.swap(volatile=volatile),
        lambda: live.apply(patches["b"]),
        lambda: live.revert(patches["a"]),
    ):
        with pytest.raises(StoreError, match="open it again"):
            use()
    live.close()
    assert (data_file(model).read_bytes(), sidecar_path(model).read_bytes()) == (before, record)


def test_a_model_replaced_meanwhile_stays(model: Path, patches: dict[str, Patch], tmp_path: Path) -> None:
    """A download renamed over the file is not what was checked."""
    with LiveModel(model) as live:
        (tmp_path / "new").write_bytes(data_file(model).read_bytes())
        os.replace(tmp_path / "new", data_file(model))
        before = data_file(model).read_bytes()
        for _ in range(2):
            with pytest.raises(StoreError, match="did something else change it"):
                live.swap(patches["a"], volatile=True)
        assert data_file(model).read_bytes() == before and live.applied == ()


def test_a_list_that_the_bits_contradict(model: Path, patches: dict[str, Patch]) -> None:
    base = data_file(model).read_bytes()
    apply_in_place(model, patches["a"])
    data_file(model).write_bytes(base)  # a fresh copy; the list is still that of the old one
    with LiveModel(model) as live, pytest.raises(StoreError, match="delete that list"):
        live.swap(patches["c"])
    assert sidecar_path(model).exists()
    sidecar_path(model).unlink()
    with LiveModel(model) as live:
        assert live.swap(patches["c"]) > 0


def test_refusals(model: Path, patches: dict[str, Patch], tmp_path: Path) -> None:
    before = data_file(model).read_bytes()
    other = bind_patch(build_tiny_gguf(tmp_path / "other.gguf", seed=1), Patch.of(SETS["a"]))
    with LiveModel(model) as live:
        for volatile in (False, True):
            with pytest.raises(WrongBaseError, match="another model"):
                live.swap(other, volatile=volatile)
            with pytest.raises(UnboundPatchError, match="bankai bind"):
                live.swap(Patch.of(SETS["a"]), volatile=volatile)
    assert data_file(model).read_bytes() == before and not sidecar_path(model).exists()
    with pytest.raises(StoreError, match="built in"):
        LiveModel("nano")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "mine").symlink_to("blobs")
    (tmp_path / "models--a--b" / "snapshots" / "0").mkdir(parents=True)
    build_tiny_gguf(tmp_path / "blobs" / "sha256-00")
    build_tiny_gguf(tmp_path / "models--a--b" / "snapshots" / "0" / "m.gguf")  # on a disk without links
    for cached in ("blobs/sha256-00", "mine/sha256-00", "models--a--b/snapshots/0/m.gguf"):
        with pytest.raises(StoreError, match="cache of downloads"):
            LiveModel(tmp_path / cached)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFormatError, match="not a regular file"):
        LiveModel(tmp_path / "pipe")


def test_bits_that_something_else_changes(model: Path, patches: dict[str, Patch]) -> None:
    """Noticed before a remembered swap touches anything; noticed after one, all of it is taken back."""
    with LiveModel(model) as live:
        live.swap(patches["a"], volatile=True)
        live.swap(volatile=True)
        with open_checkpoint(model) as checkpoint:
            (edit,) = edits(checkpoint, [Flip(UP, 3, 0, 0)])
        torn = bytearray(data_file(model).read_bytes())
        torn[edit.offset] ^= 1
        with open(data_file(model), "r+b") as file:
            file.write(torn)
        with pytest.raises(WrongBaseError, match="by something else"):
            live.swap(patches["a"], volatile=True)
        assert data_file(model).read_bytes() == torn and live.applied == ()


def test_an_interrupted_volatile_swap_is_taken_back(
    model: Path, patches: dict[str, Patch], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = data_file(model).read_bytes()
    with LiveModel(model) as live:

        def interrupted(self: Transition) -> None:
            view, mask = self._pairs[0]
            np.bitwise_xor(view, mask, out=view)
            raise KeyboardInterrupt

        monkeypatch.setattr(Transition, "xor", interrupted)
        with pytest.raises(KeyboardInterrupt):
            live.swap(patches["a"], volatile=True)
        assert data_file(model).read_bytes() == before and live.applied == ()


@pytest.mark.parametrize("volatile", [False, True])
def test_an_interrupt_right_after_a_swap(
    model: Path, patches: dict[str, Patch], monkeypatch: pytest.MonkeyPatch, volatile: bool
) -> None:
    """Before the model could take note. It stays open, and knows what is on."""
    base = data_file(model).read_bytes()
    make, of = Transition.make, Ledger.of

    def made(self: Transition) -> None:
        make(self)
        raise KeyboardInterrupt

    def settling(_: object) -> Ledger:
        monkeypatch.setattr(Ledger, "of", of)
        raise KeyboardInterrupt

    with LiveModel(model) as live:
        with monkeypatch.context() as patching:
            patching.setattr(Transition, "make", made)
            monkeypatch.setattr(Ledger, "of", of if volatile else settling)
            with pytest.raises(KeyboardInterrupt):
                live.swap(patches["a"], volatile=volatile)
        assert data_file(model).read_bytes() != base and live.applied == (patches["a"],)
        assert live.swap(volatile=volatile) > 0 and data_file(model).read_bytes() == base
    assert status(model).state == "base" and not sidecar_path(model).exists()


PLACES = st.builds(
    Flip,
    st.just(UP),
    st.integers(0, 255),
    st.none() | st.just(0),
) | st.builds(Flip, st.just(UP), st.integers(0, 255), st.just(0), st.integers(0, 127))


@given(st.frozensets(PLACES, max_size=20))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_edits_are_the_flips(model: Path, flips: frozenset[Flip]) -> None:
    """XORing the edits into the bytes of the file is what digests take the flips for."""
    data = np.frombuffer(data_file(model).read_bytes(), np.uint8).copy()
    with open_checkpoint(model) as checkpoint:
        for edit in edits(checkpoint, flips):
            assert any(edit.mask)
            data[edit.offset : edit.offset + len(edit.mask)] ^= np.frombuffer(edit.mask, np.uint8)
        expected = digest(checkpoint, flips, flips)
    copy = model.parent / "copy"
    if model.is_dir():
        shutil.copytree(model, copy, dirs_exist_ok=True)
    (copy / "model.safetensors" if model.is_dir() else copy).write_bytes(data.tobytes())
    with open_checkpoint(copy) as checkpoint:
        assert digest(checkpoint, flips) == expected


def test_recovering_tells(model: Path, tmp_path: Path) -> None:
    assert not recover(model)
    with pytest.raises(ModelFormatError, match="does not exist"):
        recover(tmp_path / "absent")


# The journal


def journal_of(model: Path, patch: Patch, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The journal of a patch going on, which then goes off again."""
    found: list[bytes] = []
    write = os.pwrite

    def noting(handle: int, data: bytes, offset: int) -> int:
        if journal_path(model).exists():
            found.append(journal_path(model).read_bytes())
        return write(handle, data, offset)

    with monkeypatch.context() as patching:
        patching.setattr(os, "pwrite", noting)
        with LiveModel(model) as live:
            live.swap(patch)
            live.swap()
    return found[0]


def test_journals_that_do_not_fit(
    model: Path, patches: dict[str, Patch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written, and the message says what to do."""
    before = data_file(model).read_bytes()
    journal = journal_of(model, patches["a"], monkeypatch)
    hostile = {
        "is damaged": [b"", journal[:-1], journal[:30] + b"x" + journal[31:], b"\xb1JRN"],
    }
    for message, contents in hostile.items():
        for content in contents:
            journal_path(model).write_bytes(content)
            with pytest.raises(StoreError, match=f"{message}; get the model again, or delete the journal"):
                open_checkpoint(model)
            assert data_file(model).read_bytes() == before
    journal_path(model).unlink()
    journal_path(model).symlink_to(data_file(model))
    with pytest.raises(StoreError, match="not a regular file"):
        open_checkpoint(model)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (["../other", 100, [[0, 1]], b"x", b""], "places that the model does not have|another size"),
        ([None, 100, [[99, 2]], b"xx", b""], "places that the model does not have"),
        ([None, 100, [[-1, 1]], b"x", b""], "places that the model does not have"),
        ([None, 100, [[0, 2]], b"x", b""], "places that the model does not have"),
        ([None, 100, [[0, 1]], b"x", b""], "another size"),
        ([None, None, [[0, 1]], b"x", b""], "malformed"),
        ([None, None, [[0, 1]], b"x", b"bomb"], "malformed"),
        ([None, None, [[0, 1]], b"\0", b"mask"], "changed by something else"),
        ([None, "many", [[0, 1]], b"x", b""], "malformed"),
    ],
)
def test_hostile_journals(model: Path, part: list[object], message: str) -> None:
    before = data_file(model).read_bytes()
    name, size, spans, old, masks = part
    packed = {b"bomb": zlib.compress(bytes(1 << 20)), b"mask": zlib.compress(b"\1")}.get(masks, masks)  # type: ignore[call-overload]
    filled = [name or data_file(model).name, len(before) if size is None else size, spans, old, packed]
    body = msgspec.msgpack.encode([1, [filled]])
    journal_path(model).write_bytes(b"\xb1JRN" + hashlib.blake2b(body, digest_size=16).digest() + body)
    with pytest.raises(StoreError, match=message):
        open_checkpoint(model)
    assert data_file(model).read_bytes() == before


def test_a_journal_undoes_only_what_it_tells(
    model: Path, patches: dict[str, Patch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some spans changed, some not, one byte foreign: refused, and nothing is written."""
    journal = journal_of(model, patches["c"], monkeypatch)
    with open_checkpoint(model) as checkpoint:
        first, *_ = edits(checkpoint, patches["c"].flips)
    before = data_file(model).read_bytes()
    half = bytearray(before)
    half[first.offset] ^= first.mask[0]  # torn inside a span
    data_file(model).write_bytes(half)
    journal_path(model).write_bytes(journal)
    assert recover(model) and data_file(model).read_bytes() == before
    if model.is_file():  # under another name, or through a link
        data_file(model).write_bytes(half)
        moved, link = model.with_name("moved"), model.with_name("link")
        model.rename(moved)
        journal_path(moved).write_bytes(journal)
        link.symlink_to(moved)
        open_checkpoint(link).close()
        assert moved.read_bytes() == before and not journal_path(moved).exists()
        moved.rename(model)
    half[first.offset + 1] ^= 1
    data_file(model).write_bytes(half)
    journal_path(model).write_bytes(journal)
    with pytest.raises(StoreError, match="changed by something else since"):
        recover(model)
    assert data_file(model).read_bytes() == half


def test_a_journal_of_a_model_that_is_gone(
    model: Path, patches: dict[str, Patch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would undo the patch on a new model of that name."""
    journal = journal_of(model, patches["c"], monkeypatch)
    new = model.with_name("new.gguf")
    journal_path(new).write_bytes(journal)
    for write in (lambda: apply_patch(model, patches["c"], new), lambda: convert(model, new)):
        with pytest.raises(StoreError, match="left of a model that is gone"):
            write()
    assert not new.exists()


@pytest.mark.parametrize(
    "ways", [["a"], ["a", ""], ["c", "a"], ["a", "b"], ["a", "b", "ac"], ["ab", "b", "", "bc"]]
)
def test_a_killed_session_is_told_by_the_bits(
    model: Path, patches: dict[str, Patch], ways: list[str]
) -> None:
    """Volatile swaps, then no goodbye: status and the next swap know what is on, overlapping or not."""
    child = os.fork()
    if child == 0:
        try:
            live = LiveModel(model)
            for names in ways:
                live.swap(*(patches[name] for name in names), volatile=True)
        finally:
            os._exit(9)
    os.waitpid(child, 0)
    assert {entry.name for entry in status(model).patches} == set(ways[-1])
    with LiveModel(model) as live:
        live.swap(patches["c"])
        assert live.applied == (patches["c"],)
    expected = model.parent / "expected"
    revert_patch(model, patches["c"], expected)
    assert status(expected).state == "base"


def test_a_session_of_many_patches(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are remembered: the list stays short and right."""
    monkeypatch.setattr("bankai.patching.live._REMEMBERED", 4)
    many = [bind_patch(model, Patch.of([Flip(HEAD, row)], Manifest(name=f"{row}"))) for row in range(10)]
    before = data_file(model).read_bytes()
    with LiveModel(model) as live:
        for patch in [*many, *many[::-1]]:
            live.swap(patch, volatile=True)
            assert [entry.name for entry in status(model).patches] == [patch.manifest.name]
        live.swap(volatile=True)
    assert data_file(model).read_bytes() == before and not sidecar_path(model).exists()
