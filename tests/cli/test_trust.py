"""keygen, sign, verify, trust: who made a patch."""

import json
import os
import pty
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bankai.signing.signature import SecretKey, is_encrypted, read_public_key, read_signature, verify

GOLDEN = Path(__file__).parents[1] / "signing" / "minisign"


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trusted keys of this test alone, and no password from outside."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv("BANKAI_PASSWORD", raising=False)
    return tmp_path / "settings" / "bankai" / "trusted_keys"


@pytest.fixture
def signed(run, patch: Path) -> Path:
    """The patch, signed with me.key."""
    assert run("keygen", "-o", "me", "--no-password").code == 0
    assert run("sign", patch, "--key", "me.key").code == 0
    return patch


def test_the_whole_story(run, patch: Path) -> None:
    assert "bankai.pub" in run("keygen", "--no-password").out
    assert "three.bankai.minisig: by key" in run("sign", patch, "--key", "bankai.key").out
    assert "added" in run("trust", "bankai.pub").out
    outcome = run("verify", patch)
    assert outcome.code == 0 and "signed by key" in outcome.out and "file:three.bankai" in outcome.out


def test_keygen(run) -> None:
    document = run("keygen", "-o", "me", "--no-password", "--json").document
    public = read_public_key("me.pub")
    assert document == {
        "id": public.key_id[::-1].hex().upper(),
        "public_key": public.line,
        "secret_file": "me.key",
        "public_file": "me.pub",
        "encrypted": False,
    }
    assert stat.S_IMODE(os.stat("me.key").st_mode) == 0o600
    assert SecretKey.decode(Path("me.key").read_text()).public == public


def test_keygen_replaces_nothing(run, refused) -> None:
    run("keygen", "--no-password")
    before = Path("bankai.key").read_text(), Path("bankai.pub").read_text()
    assert "exists" in refused("keygen", "--no-password").err
    Path("bankai.key").rename("kept.key")
    assert "bankai.pub exists" in refused("keygen").err, "before a password is asked for"
    assert (Path("kept.key").read_text(), Path("bankai.pub").read_text()) == before


def test_password_from_the_environment(run, refused, patch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANKAI_PASSWORD", "bankai")
    shutil.copy(GOLDEN / "light.key", "light.key")
    assert run("sign", patch, "--key", "light.key", "--json").document["key"] == "8286CCDF0A158345"
    monkeypatch.setenv("BANKAI_PASSWORD", "another")
    assert "light.key: the password is wrong" in refused("sign", patch, "--key", "light.key").err


def test_without_a_password_to_be_had(refused, patch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "set BANKAI_PASSWORD or give --no-password" in refused("keygen").err
    assert "set BANKAI_PASSWORD" in refused("sign", patch, "--key", GOLDEN / "light.key").err
    monkeypatch.setenv("BANKAI_PASSWORD", "")
    assert "it is empty" in refused("keygen").err
    assert not Path("bankai.key").exists() and not Path(f"{patch}.minisig").exists()


def at_a_terminal(answers: list[str], *args: object) -> tuple[int, str, str]:
    """Exit code, stdout and what the terminal showed of a process that asks its questions there."""
    own, other = pty.openpty()
    command = [sys.executable, "-m", "bankai", *map(str, args)]
    child = subprocess.Popen(
        # A session of its own takes the first terminal that it opens as its own.
        ["setsid", "-w", "sh", "-c", 'exec "$@" <"$0"', os.ttyname(other), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=other,
    )
    os.close(other)  # with the child's end closed too, reading fails instead of waiting
    shown = b""
    for answer in answers:
        while not shown.endswith(b": "):
            shown += os.read(own, 1)
        shown += b"\n"
        os.write(own, answer.encode() + b"\n")
    out = child.communicate(timeout=60)[0].decode()
    return child.returncode, out, shown.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="setsid is Linux's")
def test_password_at_a_terminal(run, patch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, shown = at_a_terminal(["secret", "secret"], "keygen", "--json")
    assert code == 0 and "secret" not in shown
    assert json.loads(out)["encrypted"] is True and is_encrypted(Path("bankai.key").read_text())
    assert at_a_terminal(["secret"], "sign", patch, "--key", "bankai.key")[0] == 0
    assert run("verify", patch, "--key", "bankai.pub").code == 0


def test_sign(run, patch: Path) -> None:
    before = patch.read_bytes()
    document = run("sign", patch, "--key", GOLDEN / "plain.key", "--comment", "version 2", "--json").document
    assert document["signature"] == f"{patch}.minisig" and document["comment"] == "version 2"
    signature = read_signature(patch)
    assert signature.trusted_comment == "version 2" and patch.read_bytes() == before
    assert verify(before, signature, [read_public_key(GOLDEN / "plain.pub")])


def test_sign_refuses(refused, patch: Path, tmp_path: Path) -> None:
    key = GOLDEN / "plain.key"
    (tmp_path / "x.bankai").write_bytes(b"no patch")
    assert "neither a .bankai patch" in refused("sign", "x.bankai", "--key", key).err
    assert "No such file" in refused("sign", patch, "--key", "missing.key").err
    assert "no secret key" in refused("sign", patch, "--key", GOLDEN / "plain.pub").err
    assert "one line" in refused("sign", patch, "--key", key, "--comment", "a\nb").err
    Path(f"{patch}.minisig").write_text("a diary")
    assert "is not a signature" in refused("sign", patch, "--key", key).err
    assert Path(f"{patch}.minisig").read_text() == "a diary"


def not_proven(run, state: str, *args: object) -> str:
    """The message: as text on stderr, and in the document."""
    text, document = run("verify", *args), run("verify", *args, "--json")
    assert (text.code, text.out, document.code, document.err) == (1, "", 1, "")
    assert text.err == f"bankai: {document.document['message']}\n" and document.document["state"] == state
    return text.err


def test_each_refusal_has_its_message(run, signed: Path) -> None:
    assert "not trusted" in not_proven(run, "untrusted", signed)
    assert "not trusted" in not_proven(run, "untrusted", signed, "--key", GOLDEN / "plain.pub")
    assert run("verify", signed, "--key", GOLDEN / "plain.pub", "--key", "me.pub").code == 0
    sound = signed.read_bytes()
    signed.write_bytes(sound[:-1])
    assert "does not fit these bytes" in not_proven(run, "tampered", signed, "--key", "me.pub")
    signed.write_bytes(sound)
    os.unlink(f"{signed}.minisig")
    assert "is not signed" in not_proven(run, "unsigned", signed, "--key", "me.pub")


def test_verify_minisigns_signature(run) -> None:
    document = run("verify", GOLDEN / "rows.bankai", "--key", GOLDEN / "plain.pub", "--json").document
    assert document["state"] == "signed" and document["key"] == "8286CCDF0A158345"
    assert document["comment"] == "the golden patch of rows, naïve"


def test_verify_refuses_what_it_cannot_read(refused, signed: Path) -> None:
    assert "No such file" in refused("verify", "missing.bankai").err
    assert "neither a file nor a public key" in refused("verify", signed, "--key", "missing.pub").err
    assert refused("sign", signed, "--key", "missing.key").err.count("missing.key") == 1
    Path(f"{signed}.minisig").write_text("untrusted comment: nothing\n")
    assert "no signature" in refused("verify", signed, "--key", "me.pub", "--json").err


def test_trust(run, refused, own_settings: Path) -> None:
    assert run("trust", "--list", "--json").document == {
        "file": str(own_settings),
        "keys": [],
        "added": False,
    }
    key = read_public_key(GOLDEN / "plain.pub")
    assert run("trust", key.line, "--json").document["added"] is True
    assert "was there already" in run("trust", GOLDEN / "plain.pub").out
    assert f"8286CCDF0A158345  {key.line}" in run("trust", "--list").out
    assert own_settings.read_text() == key.line + "\n"
    assert "--list" in refused("trust").err and "--list" in refused("trust", key.line, "--list").err
    assert "neither a file" in refused("trust", "x").err
    own_settings.write_text("nonsense\n")
    assert (
        "line 1" in refused("trust", key.line).err
        and "line 1" in refused("verify", GOLDEN / "rows.bankai").err
    )


def test_without_cryptography(patch: Path) -> None:
    code = "import sys; sys.modules['cryptography'] = None; from bankai.cli.main import main; main()"
    command = [sys.executable, "-c", code, "sign", str(patch), "--key", str(GOLDEN / "plain.key")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert "pip install 'bankai[trust]'" in result.stderr and result.stderr.count("\n") == 1
