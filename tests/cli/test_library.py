"""bankai library: many patches in one file."""

from pathlib import Path

import pytest

from bankai.patch import Flip, Manifest, Patch, read_patch, write_patch
from bankai.signing.signature import SecretKey, key_text, sign, trust, write_signature

KEY = SecretKey(b"12345678", bytes(32))
LIB = "patches.library"


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trusted keys but those that a test adds."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))


@pytest.fixture
def library(run, patch: Path, tmp_path: Path) -> Path:
    """Holds the bound patch `three`, and `two`, which shares a row with it, unbound and signed."""
    two = Patch.of(
        [Flip("model.layers.1.mlp.down_proj", 7), Flip("lm_head", 1)], Manifest(description="Sums")
    )
    write_patch(two, tmp_path / "two.bankai")
    write_signature(sign((tmp_path / "two.bankai").read_bytes(), KEY, "by me"), tmp_path / "two.bankai")
    assert run("library", "add", LIB, patch, "--tag", "math", "--tag", "good").code == 0
    assert run("library", "add", LIB, tmp_path / "two.bankai").code == 0
    return tmp_path / LIB


def test_add_tells_what_it_added(run, patch: Path, tmp_path: Path) -> None:
    document = run("library", "add", LIB, patch, "--tag", "math", "--name", "mine", "--json").document
    (added,) = document["added"]
    assert (added["name"], added["flips"], added["tags"], added["key"]) == ("mine", 3, ["math"], None)
    assert added["file_bytes"] == patch.stat().st_size
    write_patch(Patch.of([Flip("lm_head", 5)]), tmp_path / "five.bankai")
    outcome = run("library", "add", LIB, tmp_path)
    assert f"{LIB}: 1 added" in outcome.out and "five: 1 flip" in outcome.out
    assert outcome.err == f"{patch}: there already, as mine\n"


def test_add_refuses_what_is_there(refused, library: Path, patch: Path, tmp_path: Path) -> None:
    assert "this patch already, as three" in refused("library", "add", LIB, patch, "--name", "four").err
    write_patch(Patch.of([Flip("lm_head", 5)], Manifest(name="three")), patch)
    assert "give --replace, or a new --name" in refused("library", "add", LIB, patch).err
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    assert "not a library" in refused("library", "add", model, patch).err
    assert model.read_bytes() == b"GGUF"


def test_add_names_the_way_to_a_new_signature(
    run, refused, library: Path, patch: Path, tmp_path: Path
) -> None:
    write_signature(sign(patch.read_bytes(), KEY, "since"), patch)
    assert "give --replace to renew its signature" in refused("library", "add", LIB, patch).err
    outcome = run("library", "add", LIB, tmp_path)
    assert f"{patch}: there already, as three; --replace takes its new signature\n" in outcome.err
    assert f"{tmp_path / 'two.bankai'}: there already, as two\n" in outcome.err
    document = run("library", "add", LIB, tmp_path, "--replace", "--json").document
    assert [(entry["name"], entry["key"]) for entry in document["added"]] == [
        ("three", key_text(b"12345678"))
    ]
    assert document["known"] == {str(tmp_path / "two.bankai"): "two"}


def test_replace(run, library: Path, patch: Path) -> None:
    write_patch(Patch.of([Flip("lm_head", 5)], Manifest(name="three")), patch)
    (added,) = run("library", "add", LIB, patch, "--replace", "--json").document["added"]
    assert (added["flips"], added["tags"]) == (1, ["good", "math"])


def test_list(run, library: Path, patch: Path) -> None:
    lines = [line.split(maxsplit=4) for line in run("library", "list", LIB).out.splitlines()]
    fingerprint = read_patch(patch).binding.fingerprint.hex()
    assert lines[0][:4] == ["name", "flips", "bytes", "base"]
    assert lines[1] == ["three", "3", str(patch.stat().st_size), fingerprint[:8], "good, math"]
    assert lines[2][:2] == ["two", "2"] and lines[2][-1] == key_text(b"12345678")
    document = run("library", "list", LIB, "--json").document
    assert [entry["name"] for entry in document] == ["three", "two"]
    assert document[0]["fingerprint"] == fingerprint


def test_search(run, library: Path, patch: Path, tiny_gguf: Path, wide_gguf: Path) -> None:
    def found(*arguments: object) -> list[str]:
        return [entry["name"] for entry in run("library", "search", LIB, *arguments, "--json").document]

    fingerprint = read_patch(patch).binding.fingerprint.hex()
    assert found() == ["three", "two"]
    assert found("sums") == ["two"] and found("t", "h") == ["three"]
    assert found("--base", tiny_gguf) == found("--base", fingerprint) == ["three"]
    assert found("--base", fingerprint.upper()) == ["three"]
    assert found("--base", wide_gguf) == []
    assert found("--tag", "good", "--tag", "math") == ["three"] and found("--tag", "bad") == []
    nothing = run("library", "search", LIB, "nothing")
    assert nothing.out.split() == "name flips bytes base signed by tags".split()
    assert nothing.err == "no patches\n"


def test_show(run, library: Path, tiny_gguf: Path) -> None:
    text = run("library", "show", LIB, "three").out
    assert "good, math" in text and "3 (2 rows, 1 groups, 0 single bits)" in text and "model.layers.0" in text
    document = run("library", "show", LIB, "two", "--json").document
    assert document["entry"]["key"] == key_text(b"12345678") and document["comment"] == "by me"
    assert document["patch"]["manifest"] == {"description": "Sums"}
    assert "to prove" in run("library", "show", LIB, "two").out


def test_export_and_remove(run, refused, library: Path, patch: Path, tmp_path: Path) -> None:
    document = run("library", "export", LIB, "two", "-o", "out.bankai", "--json").document
    assert document == {"patch": "out.bankai", "signature": "out.bankai.minisig"}
    assert Path("out.bankai").read_bytes() == (tmp_path / "two.bankai").read_bytes()
    assert Path("out.bankai.minisig").read_text() == (tmp_path / "two.bankai.minisig").read_text()
    assert "exists" in refused("library", "export", LIB, "three", "-o", "out.bankai").err
    assert "three.out" in run("library", "export", LIB, "three", "-o", "three.out").out
    assert Path("three.out").read_bytes() == patch.read_bytes()
    assert run("library", "remove", LIB, "two", "--json").document == {"removed": "two"}
    assert "three removed" in run("library", "remove", LIB, "three").out
    assert "no patch named two" in refused("library", "remove", LIB, "two").err
    assert "there is no library" in refused("library", "remove", "other.library", "two").err
    assert not Path("other.library").exists()


def test_policy_and_check(run, refused, library: Path, patch: Path, tmp_path: Path) -> None:
    assert run("library", "policy", LIB, "--json").document == {"policy": "any"}
    assert run("library", "check", LIB, "--json").document == {"patches": 2, "verified": 0, "findings": []}
    assert "takes what a trusted key signed" in run("library", "policy", LIB, "signed").out
    new = tmp_path / "new.bankai"
    write_patch(Patch.of([Flip("lm_head", 5)]), new)
    assert "not signed" in refused("library", "add", LIB, new).err
    write_signature(sign(new.read_bytes(), KEY, "x"), new)
    assert "not trusted" in refused("library", "add", LIB, new).err
    outcome = run("library", "check", LIB)
    assert outcome.code == 1 and "three: not signed" in outcome.out and "2 unsound" in outcome.out
    assert "2 added" not in run("library", "add", LIB, new, "--key", KEY.public.line).out
    trust(KEY.public)
    outcome = run("library", "check", LIB, "--json")
    assert outcome.code == 1 and outcome.document["verified"] == 2
    assert [finding["name"] for finding in outcome.document["findings"]] == ["three"]
    run("library", "remove", LIB, "three")
    assert run("library", "check", LIB).out == (
        f"{LIB}: 2 patches, 2 proven to be signed by a trusted key, 0 unsound\n"
    )


def test_overlap(run, refused, library: Path) -> None:
    (pair,) = run("library", "overlap", LIB, "three", "two", "--json").document
    assert (pair["first"], pair["second"]) == ("three", "two")
    found = pair["overlap"]
    assert (found["same_base"], found["cancelled"], found["shared_rows"]) == (None, 0, 1)
    assert found["interference"] == 0.5
    assert run("library", "overlap", LIB, "two", "--json").document[0]["overlap"] == found
    lines = run("library", "overlap", LIB, "three", "two").out.splitlines()
    assert lines[1].split() == ["50", "%", "0", "1", "0", "50", "%", "50", "%", "?", "three", "and", "two"]
    assert "different patches" in refused("library", "overlap", LIB, "two", "two").err
    run("library", "remove", LIB, "three")
    assert run("library", "overlap", LIB, "two").err == "no other patch to compare with\n"
    assert "no patch named four" in refused("library", "overlap", LIB, "two", "four").err


def test_a_stranger(refused, library: Path) -> None:
    Path("text").write_text("no library")
    for command in ("list", "search", "check"):
        assert "not a library" in refused("library", command, "text").err
        assert "there is no library" in refused("library", command, "missing").err


def test_nothing_asked_shows_the_help(run) -> None:
    outcome = run("library")
    assert outcome.code == 0 and outcome.out == run("library", "--help").out
    for command in "add list search show remove export check overlap policy".split():
        assert f"\n  {command} " in outcome.out
        assert "--json" in run("library", command, "--help").out


def test_hostile_text(run, patch: Path, tmp_path: Path) -> None:
    evil = "evil\x1b[2J\u202e\nbound to"
    write_patch(Patch.of([Flip("lm_head", 1)], Manifest(name="e", description=evil)), tmp_path / "e.bankai")
    run("library", "add", LIB, tmp_path / "e.bankai")
    text = run("library", "show", LIB, "e").out
    assert "evil" in text and all(line.isprintable() for line in text.split("\n"))
    assert run("library", "show", LIB, "e", "--json").document["patch"]["manifest"]["description"] == evil
