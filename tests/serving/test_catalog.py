"""Names stand for patches that fit, for nothing else, and for what the library holds now."""

import os
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from bankai.checkpoint.model_file import Checkpoint, open_checkpoint
from bankai.errors import LibraryError, UnknownModelError
from bankai.library.library import Library
from bankai.patch import Flip, Manifest, Patch, bind, digest, encode, state
from bankai.serving.catalog import Catalog
from bankai.signing.signature import SecretKey, sign, trusted_keys_path

KEY, OTHER = SecretKey(b"12345678", bytes(32)), SecretKey(b"87654321", bytes(range(32)))
PLACES = {
    "up": [Flip("model.layers.0.mlp.up_proj", 3), Flip("model.layers.1.mlp.up_proj", 4)],
    "down": [Flip("model.layers.1.mlp.down_proj", 7, 1)],
    "both": [Flip("model.layers.0.mlp.up_proj", 3), Flip("model.layers.1.mlp.gate_proj", 200)],
}


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trusted keys but those that a test gives."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))


@pytest.fixture
def model(tiny_gguf: Path) -> Iterator[Checkpoint]:
    with open_checkpoint(tiny_gguf) as checkpoint:
        yield checkpoint


@pytest.fixture
def path(tmp_path: Path, model: Checkpoint) -> Path:
    for name, flips in PLACES.items():
        put(tmp_path / "patches.library", bind(Patch.of(flips, Manifest(description=name)), model), name)
    return tmp_path / "patches.library"


def put(path: Path, patch: Patch, name: str, key: SecretKey | None = None) -> None:
    data = encode(patch)
    with Library(path, create=True) as library:
        library.put(data, key and sign(data, key, name), name=name, replace=True, keys=())


def names(catalog: Catalog) -> list[str]:
    return [entry.name for entry in catalog.entries()]


def test_base_and_patches_by_name(model: Checkpoint, path: Path) -> None:
    catalog = Catalog(model, "tiny", path)
    assert names(catalog) == ["both", "down", "up"]
    base, up = catalog.resolve(()), catalog.resolve(("up",))
    assert (base.patch.flips, base.digests, base.names) == (frozenset(), (), ())
    assert up.patch.flips == frozenset(PLACES["up"])
    assert up.digests == (catalog.entries()[2].digest,)
    assert up.key == f"{base.key}+{up.digests[0]}"
    assert state(model, up.patch) == "base"


def test_stacks_are_xor_in_any_order(model: Checkpoint, path: Path) -> None:
    catalog = Catalog(model, "tiny", path)
    stacks = [catalog.resolve(order) for order in permutations(("up", "down", "both"))]
    assert {stack.patch for stack in stacks} == {
        Patch.of(PLACES["up"]) ^ Patch.of(PLACES["down"]) ^ Patch.of(PLACES["both"])
    }
    assert len({stack.key for stack in stacks}) == 1
    assert stacks[0].patch.binding is not None
    assert stacks[0].patch.binding.before == digest(model, stacks[0].patch.flips)


def test_model_names(model: Checkpoint, path: Path) -> None:
    catalog = Catalog(model, "a+b", path)
    assert catalog.names("a+b") == ()
    assert catalog.names("a+b+up+down") == ("up", "down")
    for wrong in ("", "a", "a+", "up", "a+bup", "A+B", "../a+b", "a+b/up", "a+b "):
        with pytest.raises(UnknownModelError, match="no model"):
            catalog.names(wrong)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (["nothing"], "no patch of that name"),
        ([""], "no patch of that name"),
        (["../up"], "no patch of that name"),
        (["up", "nothing"], "no patch of that name"),
        (["up", "up"], "ask for it once"),
        (["up", "twin"], "take each other off"),
        (["up", "down", "sum"], "take each other off"),
        (["plus+name"], "another name"),
        (["foreign"], "another model"),
        (["stale"], "not those of this model"),
        (["unbound"], "bankai bind"),
        ([str(number) for number in range(65)], "too many"),
    ],
)
def test_never_the_base_instead(
    model: Checkpoint, wide_gguf: Path, path: Path, asked: list[str], why: str
) -> None:
    up, down = (Patch.of(PLACES[name]) for name in ("up", "down"))
    with open_checkpoint(wide_gguf) as other:
        put(path, bind(up, other), "foreign")
    put(path, bind(Patch.of(PLACES["up"], Manifest(name="twin")), model), "twin")
    put(path, bind(up ^ down, model), "sum")
    put(path, bind(Patch.of([Flip("lm_head", 1)]), model), "plus+name")
    put(path, bind(Patch.of(PLACES["both"]), model, up.flips), "stale")
    put(path, Patch.of([Flip("lm_head", 2)]), "unbound")
    catalog = Catalog(model, "tiny", path)
    assert names(catalog) == ["both", "down", "sum", "twin", "up"]
    with pytest.raises(UnknownModelError, match=why):
        catalog.resolve(asked)


def test_a_library_that_changes_is_read_again(model: Checkpoint, path: Path) -> None:
    catalog = Catalog(model, "tiny", path)
    for number in range(20):  # quicker than the clock of most file systems
        put(path, bind(Patch.of([Flip("lm_head", number)]), model), "new")
        assert catalog.resolve(("new",)).patch.flips == {Flip("lm_head", number)}
    with Library(path, writable=True) as library:
        library.remove("new")
    assert "new" not in names(catalog)
    with pytest.raises(UnknownModelError, match="no patch"):
        catalog.resolve(("new",))
    path.unlink()
    assert catalog.resolve(()).patch == Patch.empty()
    with pytest.raises(LibraryError, match="no library"):
        catalog.resolve(("up",))
    with pytest.raises(LibraryError, match="no library"):
        catalog.entries()


def test_only_what_is_signed_when_the_library_wants_that(model: Checkpoint, path: Path) -> None:
    put(path, bind(Patch.of([Flip("lm_head", 1)]), model), "mine", KEY)
    put(path, bind(Patch.of([Flip("lm_head", 2)]), model), "theirs", OTHER)
    assert names(Catalog(model, "tiny", path, [KEY.public])) == ["both", "down", "mine", "theirs", "up"]
    with Library(path, writable=True) as library:
        library.policy = "signed"
    catalog = Catalog(model, "tiny", path, [KEY.public])
    assert names(catalog) == ["mine"]
    with pytest.raises(UnknownModelError, match="not trusted"):
        catalog.resolve(("theirs",))
    with pytest.raises(UnknownModelError, match="not signed"):
        catalog.resolve(("up",))


def test_a_pipe_in_the_place_of_the_library_is_not_waited_for(model: Checkpoint, path: Path) -> None:
    catalog = Catalog(model, "tiny", path)
    path.rename(path.with_suffix(".kept"))
    os.mkfifo(path)
    with pytest.raises(LibraryError, match="not a regular file"):
        catalog.resolve(("up",))
    path.with_suffix(".kept").replace(path)
    assert catalog.resolve(("up",)).names == ("up",)


def test_trusted_keys_that_are_damaged_meanwhile(model: Checkpoint, path: Path) -> None:
    catalog = Catalog(model, "tiny", path)
    trusted_keys_path().parent.mkdir(parents=True)
    trusted_keys_path().write_text("no key\n")
    with pytest.raises(LibraryError, match="trusted_keys, line 1"):
        catalog.resolve(("up",))
    trusted_keys_path().write_text(KEY.public.line + "\n")
    assert catalog.resolve(("up",)).names == ("up",)


def test_without_a_library(model: Checkpoint, tmp_path: Path) -> None:
    catalog = Catalog(model, "tiny")
    assert (catalog.entries(), catalog.resolve(()).names) == ((), ())
    with pytest.raises(UnknownModelError, match="no patch"):
        catalog.resolve(("up",))
    with pytest.raises(LibraryError, match="no library"):
        Catalog(model, "tiny", tmp_path / "none.library")
