"""Signatures, beside those of minisign 0.11, which made the files in `minisign/` (password "bankai"):

minisign -G -W -p plain.pub -s plain.key            minisign -G -p locked.pub -s locked.key
minisign -S -W -s plain.key -m rows.bankai -t ...   minisign -S -s locked.key -m rows.bankai -x rows.locked.minisig
minisign -S -W -l -s plain.key -m rows.bankai -x rows.legacy.minisig

except `light.key`, the key of `plain.key` as we write it under a password, at a cost that a test can pay.
"""

import base64
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankai.errors import (
    MissingExtraError,
    SignatureError,
    SignatureFormatError,
    StoreError,
    TamperedError,
    UnsignedError,
    UntrustedKeyError,
)
from bankai.signing.minisign import MAX_COMMENT, MAX_TEXT
from bankai.signing.signature import (
    PublicKey,
    SecretKey,
    Signature,
    create_keys,
    is_encrypted,
    key_text,
    read_public_key,
    read_secret_key,
    read_signature,
    sign,
    signature_path,
    trust,
    trusted_keys,
    verify,
    write_signature,
)

GOLDEN = Path(__file__).with_name("minisign")
DATA = (GOLDEN / "rows.bankai").read_bytes()
PLAIN, LOCKED = read_public_key(GOLDEN / "plain.pub"), read_public_key(GOLDEN / "locked.pub")
SIGNATURES = {"rows.bankai": PLAIN, "rows.legacy": PLAIN, "rows.locked": LOCKED}
KEY = SecretKey(b"key id..", bytes(range(32)))
SIGNED = sign(DATA, KEY, "a comment")
LIGHT = {"work": 1 << 15, "memory": 1 << 24}


def text(name: str) -> str:
    return (GOLDEN / name).read_text()


def no_password() -> str:
    raise AssertionError("asked for a password")


@pytest.mark.parametrize("name", SIGNATURES)
def test_minisigns_signatures(name: str) -> None:
    signature = Signature.decode(text(f"{name}.minisig"))
    assert verify(DATA, signature, [LOCKED, PLAIN]) == SIGNATURES[name]
    assert signature.encode() == text(f"{name}.minisig")
    assert signature.prehashed is (name != "rows.legacy")
    with pytest.raises(TamperedError):
        verify(DATA + b"\0", signature, [LOCKED, PLAIN])


def test_minisigns_comment_is_proven() -> None:
    assert read_signature(GOLDEN / "rows.bankai").trusted_comment == "the golden patch of rows, naïve"


def test_signing_gives_minisigns_bytes() -> None:
    key = read_secret_key(GOLDEN / "plain.key", no_password)
    made = sign(DATA, key, "the golden patch of rows, naïve")
    assert made.encode() == text("rows.bankai.minisig")


def test_minisigns_key_files() -> None:
    key = SecretKey.decode(text("plain.key"))
    assert key.public == PLAIN and PLAIN.encode() == text("plain.pub")
    assert PublicKey.decode(PLAIN.line) == PLAIN and PLAIN.line == text("plain.pub").split("\n")[1]
    assert key_text(PLAIN.key_id) == text("plain.pub").split("\n")[0].rpartition(" ")[2]
    assert not is_encrypted(text("plain.key")) and is_encrypted(text("locked.key"))
    assert SecretKey.decode(text("light.key"), "bankai") == key


def test_files_with_other_line_ends() -> None:
    assert PublicKey.decode(PLAIN.encode().replace("\n", "\r\n")) == PLAIN
    assert Signature.decode(SIGNED.encode().replace("\n", "\r\n")) == SIGNED


@pytest.mark.parametrize("password", [None, "", "pass word", "naïve \udcff"])
def test_secret_keys_come_back(password: str | None) -> None:
    encoded = KEY.encode(password, **LIGHT)
    assert SecretKey.decode(encoded, password) == KEY and is_encrypted(encoded) is (password is not None)


def test_a_secret_key_needs_its_password() -> None:
    encoded = KEY.encode("right", **LIGHT)
    assert encoded != KEY.encode("right", **LIGHT), "no two have the same salt"
    with pytest.raises(SignatureFormatError, match="password is wrong"):
        SecretKey.decode(encoded, "wrong")
    with pytest.raises(SignatureFormatError, match="under a password"):
        SecretKey.decode(encoded)


def test_a_secret_key_does_not_show() -> None:
    assert repr(KEY.seed)[2:-1] not in repr(KEY) and "seed" not in repr(KEY)
    assert SecretKey.generate() != SecretKey.generate()


@given(st.binary(max_size=300), st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=50))
def test_what_is_signed_verifies(data: bytes, comment: str) -> None:
    signature = sign(data, KEY, comment)
    assert verify(data, signature, [PLAIN, KEY.public]) == KEY.public
    assert Signature.decode(signature.encode()) == signature == Signature.unpack(signature.pack())
    assert len(signature.pack()) == 138 + len(comment.encode())


# Whatever is changed


@given(st.integers(0, len(DATA) * 8 - 1))
def test_any_flipped_bit_of_the_file_is_found(bit: int) -> None:
    data = bytearray(DATA)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(TamperedError, match="fetch both again"):
        verify(bytes(data), SIGNED, [KEY.public])


@given(st.integers(0, len(SIGNED.pack()) - 1), st.integers(1, 255))
def test_any_changed_byte_of_a_packed_signature_is_found(at: int, change: int) -> None:
    packed = bytearray(SIGNED.pack())
    packed[at] ^= change
    expected: tuple[type[Exception], ...] = (TamperedError,)
    if at < 2 or at >= 138:  # the algorithm; a comment that is no text
        expected = (TamperedError, SignatureFormatError)
    elif at < 10:
        expected = (UntrustedKeyError,)
    with pytest.raises(expected):
        verify(DATA, Signature.unpack(bytes(packed)), [KEY.public])


@given(st.data(), st.characters(exclude_categories=["Cs"]))
def test_any_changed_character_of_a_signature_file_is_found(draw: st.DataObject, character: str) -> None:
    encoded = SIGNED.encode()
    free = range(len("untrusted comment: "), encoded.index("\n"))  # the one field that nothing covers
    at = draw.draw(
        st.integers(0, len(encoded) - 2).filter(lambda at: at not in free and encoded[at] != character)
    )
    with pytest.raises((SignatureError, SignatureFormatError)):
        verify(DATA, Signature.decode(f"{encoded[:at]}{character}{encoded[at + 1 :]}"), [KEY.public])


@given(st.integers(0, 400))
def test_any_shortened_signature_is_refused(size: int) -> None:
    for data, read in (
        (SIGNED.encode()[:-2][:size], Signature.decode),
        (SIGNED.pack()[:137][:size], Signature.unpack),
    ):
        with pytest.raises(SignatureFormatError):
            read(data)


def test_the_untrusted_comment_is_anybodys() -> None:
    changed = SIGNED.encode().replace("signature from minisign secret key", "by somebody")
    assert changed != SIGNED.encode() and Signature.decode(changed) == SIGNED


def test_a_comment_does_not_go_with_another_signature() -> None:
    other = sign(DATA, KEY, "another comment")
    mixed = Signature(SIGNED.key_id, SIGNED.signature, other.global_signature, other.trusted_comment)
    assert verify(DATA, mixed, [KEY.public])  # the same file: both signatures are over the same bytes
    third = sign(b"other data", KEY, "another comment")
    mixed = Signature(SIGNED.key_id, SIGNED.signature, third.global_signature, third.trusted_comment)
    with pytest.raises(TamperedError):
        verify(DATA, mixed, [KEY.public])


def test_unknown_keys() -> None:
    for keys in ([], [PLAIN, LOCKED]):
        with pytest.raises(UntrustedKeyError, match=f"{key_text(KEY.key_id)}.*not trusted.*bankai trust"):
            verify(DATA, SIGNED, keys)


def test_the_id_of_a_key_proves_nothing() -> None:
    pretender = SecretKey(KEY.key_id, bytes(32))
    with pytest.raises(TamperedError):
        verify(DATA, sign(DATA, pretender, ""), [KEY.public])
    assert verify(DATA, SIGNED, [pretender.public, KEY.public]) == KEY.public


def test_unsigned(tmp_path: Path) -> None:
    with pytest.raises(UnsignedError, match=r"x\.bankai is not signed: there is no x\.bankai\.minisig"):
        read_signature(tmp_path / "x.bankai")


AFTER = {"a blank line": "\n", "blank lines": "\r\n \n\n", "a note": "\nfetched on Monday\n", "no end": ""}


@pytest.mark.parametrize("kind", AFTER)
def test_the_first_lines_are_read_as_minisign_does(kind: str) -> None:
    """What follows them, and the first line of a key, are nobody's."""

    def longer(text: str) -> str:
        return text + AFTER[kind] if AFTER[kind] else text.rstrip("\n")

    assert Signature.decode(longer(SIGNED.encode())) == SIGNED
    for first in ("untrusted comment: minisign public key", "the key of Ann", ""):
        assert PublicKey.decode(longer(f"{first}\n{KEY.public.line}\n")) == KEY.public
        assert SecretKey.decode(longer(f"{first}\n{KEY.encode().split(chr(10))[1]}\n")) == KEY
    assert AFTER[kind].strip() or PublicKey.decode(longer(f"{KEY.public.line}\n")) == KEY.public


# Hostile keys and signatures


def armor(data: bytes) -> str:
    return base64.b64encode(data).decode()


def secret_file(data: bytes) -> str:
    return f"untrusted comment: x\n{armor(data)}\n"


PUBLIC = b"Ed" + PLAIN.key_id + PLAIN.key
HOSTILE_PUBLIC = {
    "empty": "",
    "blank lines": "\n\n\n",
    "a blank line first": f"\n\n{PLAIN.line}\n",
    "short": armor(PUBLIC[:-1]),
    "long": armor(PUBLIC + b"\0"),
    "another algorithm": armor(b"ED" + PUBLIC[2:]),
    "bad base64": "!" + PLAIN.line[1:],
    "letters that are not ASCII": "é" + PLAIN.line[1:],
    "spaces": f" {PLAIN.line}",
    "huge": "A" * (MAX_TEXT + 1),
}
HOSTILE_SIGNATURES = {
    "empty": "",
    "a key": PLAIN.encode(),
    "signify's two lines": "\n".join(SIGNED.encode().split("\n")[:2]),
    "a blank line first": "\n" + SIGNED.encode(),
    "a blank line between": SIGNED.encode().replace("trusted comment: a", "\ntrusted comment: a"),
    "huge": SIGNED.encode() + "\n" * MAX_TEXT,
    "long comment": SIGNED.encode().replace("a comment", "a" * (MAX_COMMENT + 1)),
    "escape in the comment": SIGNED.encode().replace("a comment", "\x1b[31m"),
    "loose bits of base64": SIGNED.encode()[:-4] + "h==\n",  # the last letter has four bits too many
}
SECRET = base64.b64decode(text("plain.key").split("\n")[1])
LIMITED = base64.b64decode(text("light.key").split("\n")[1])
HOSTILE_SECRETS = {
    "empty": "",
    "a public key": PLAIN.encode(),
    "no comment": armor(SECRET),
    "short": secret_file(SECRET[:-1]),
    "another algorithm": secret_file(b"ED" + SECRET[2:]),
    "another derivation": secret_file(b"Edxx" + SECRET[4:]),
    "another checksum": secret_file(SECRET[:4] + b"xx" + SECRET[6:]),
    "wrong checksum": secret_file(SECRET[:-1] + b"\1"),
    "another's public key": secret_file(SECRET[:94] + LOCKED.key + SECRET[126:]),
    "scrypt for ever": secret_file(LIMITED[:38] + b"\xff" * 8 + LIMITED[46:]),
    "scrypt without end of memory": secret_file(LIMITED[:46] + b"\xff" * 8 + LIMITED[54:]),
    "a little more than minisign": secret_file(
        LIMITED[:38] + (2**25 + 1).to_bytes(8, "little") + LIMITED[46:]
    ),
    "huge": secret_file(SECRET) + "\n" * MAX_TEXT,
}


@pytest.mark.parametrize("name", HOSTILE_PUBLIC)
def test_hostile_public_keys(name: str) -> None:
    with pytest.raises(SignatureFormatError):
        PublicKey.decode(HOSTILE_PUBLIC[name])


@pytest.mark.parametrize("name", HOSTILE_SIGNATURES)
def test_hostile_signatures(name: str) -> None:
    with pytest.raises(SignatureFormatError):
        Signature.decode(HOSTILE_SIGNATURES[name])


@pytest.mark.parametrize("name", HOSTILE_SECRETS)
def test_hostile_secret_keys(name: str) -> None:
    with pytest.raises(SignatureFormatError):
        SecretKey.decode(HOSTILE_SECRETS[name], "bankai")


def test_the_least_limits_of_scrypt_are_those_of_libsodium() -> None:
    head = LIMITED[:38] + bytes(16)
    assert SecretKey.decode(KEY.encode("x", work=0, memory=0), "x") == KEY
    with pytest.raises(SignatureFormatError, match="password is wrong"):
        SecretKey.decode(secret_file(head + LIMITED[54:]), "bankai")


@given(st.text(max_size=200) | st.binary(max_size=200).map(armor))
def test_any_text_is_refused(garbage: str) -> None:
    for decode in (PublicKey.decode, Signature.decode, SecretKey.decode):
        for lines in (garbage, f"untrusted comment: {garbage}", f"untrusted comment: \n{garbage}\n"):
            with pytest.raises(SignatureFormatError):
                decode(lines)


SMALL_ORDER = [
    f"{y}{end:02x}"
    for y, low in (
        ("01" + "00" * 30, 0x00),
        ("ec" + "ff" * 30, 0x7F),
        ("00" * 31, 0x00),
        ("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc", 0x05),
        ("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03", 0x7A),
    )
    for end in (low, low | 0x80)
]


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_keys_under_which_anybody_can_sign_are_refused(key: str) -> None:
    forged = bytes([1]) + bytes(63)  # made without any secret
    weak = PublicKey(b"weak key", bytes.fromhex(key))
    if key not in (SMALL_ORDER[1], SMALL_ORDER[3]):  # zero has no other sign: these are no points
        assert any(weak.fits(forged, b"message %d" % n) for n in range(200)), "no such key"
    with pytest.raises(SignatureFormatError, match="anybody can sign"):
        PublicKey.decode(weak.line)


@pytest.mark.parametrize("comment", ["two\nlines", "\r", "\0", "\x1b[2J", "é" * MAX_COMMENT, "\ud800"])
def test_comments_that_are_refused(comment: str) -> None:
    with pytest.raises(SignatureFormatError, match="one line"):
        sign(DATA, KEY, comment)


# Files


def test_a_signature_beside_its_file(tmp_path: Path) -> None:
    patch = tmp_path / "p.bankai"
    for signature in (SIGNED, sign(DATA, KEY, "later")):
        assert write_signature(signature, patch) == signature_path(patch) == tmp_path / "p.bankai.minisig"
        assert read_signature(patch) == signature
    assert os.listdir(tmp_path) == ["p.bankai.minisig"]


def test_a_signature_replaces_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "p.minisig").write_text("my novel")
    with pytest.raises(StoreError, match="is not a signature"):
        write_signature(SIGNED, tmp_path / "p")
    assert (tmp_path / "p.minisig").read_text() == "my novel"


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        lambda path: os.mkfifo(path),
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.write_bytes(b"\xff" * 100),
        lambda path: path.write_bytes(b"A" * (1 << 20)),
    ],
    ids=["directory", "pipe", "dangling link", "not text", "large"],
)
def test_what_is_no_file_of_ours(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "p.minisig"
    make(path)
    readers = (
        lambda: read_signature(tmp_path / "p"),
        lambda: read_public_key(path),
        lambda: trusted_keys(path),
    )
    for read in (*readers, lambda: read_secret_key(path, no_password)):
        with pytest.raises(SignatureFormatError, match=r"p\.minisig"):
            read()


def test_new_keys(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        secret, public, key = create_keys(tmp_path / "a.b", None)
    finally:
        os.umask(before)
    assert (secret, public) == (tmp_path / "a.b.key", tmp_path / "a.b.pub")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600 and stat.S_IMODE(public.stat().st_mode) == 0o644
    assert read_secret_key(secret, no_password).public == read_public_key(public) == key


@pytest.mark.parametrize("suffix", [".key", ".pub"])
def test_keys_are_never_replaced(tmp_path: Path, suffix: str) -> None:
    there = tmp_path / f"me{suffix}"
    there.symlink_to("elsewhere")
    with pytest.raises(StoreError, match="exists"):
        create_keys(tmp_path / "me", None)
    assert os.listdir(tmp_path) == [there.name]


def test_of_two_that_make_the_same_keys_one_wins(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from bankai.signing.signature import create_keys; sys.stdin.read(1); "
    code += "create_keys(Path('me'), None)"
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    errors = [maker.communicate(b"x")[1] for maker in makers]
    assert sorted(maker.returncode for maker in makers) == [0, 1, 1], errors
    assert sum(b"StoreError" in error for error in errors) == 2
    pair = read_secret_key(tmp_path / "me.key", no_password).public, read_public_key(tmp_path / "me.pub")
    assert pair[0] == pair[1] and sorted(os.listdir(tmp_path)) == ["me.key", "me.pub"]


def test_half_a_pair_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.suffix == ".pub":
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="No space left"):
        create_keys(tmp_path / "me", None)
    assert os.listdir(tmp_path) == []
    with pytest.raises(StoreError, match="cannot be written"):
        create_keys(tmp_path / "nowhere" / "me", None)


# Trusted keys


def test_trusted_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert trusted_keys() == ()
    assert trust(PLAIN) and trust(LOCKED) and not trust(PLAIN)
    assert trusted_keys() == (PLAIN, LOCKED) == trusted_keys(tmp_path / "bankai" / "trusted_keys")
    assert stat.S_IMODE((tmp_path / "bankai").stat().st_mode) == 0o700


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_the_default_place_of_trusted_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    trust(PLAIN)
    assert trusted_keys(tmp_path / ".config" / "bankai" / "trusted_keys") == (PLAIN,)


def test_what_people_write_into_the_file_stays(tmp_path: Path) -> None:
    mine = f"# friends\u2028{LOCKED.line}\r\n\r\n  {PLAIN.line}  # Ann"
    (tmp_path / "mine").write_text(mine, newline="")
    (tmp_path / "link").symlink_to("mine")
    assert trusted_keys(tmp_path / "link") == (PLAIN,)  # a comment ends with its line, whatever is in it
    assert trust(KEY.public, tmp_path / "link")
    assert (tmp_path / "mine").read_bytes().decode() == f"{mine}\n{KEY.public.line}\n"
    assert (tmp_path / "link").is_symlink()


def test_public_key_files_may_be_put_together(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{PLAIN.encode()}\n{LOCKED.encode()}")
    assert trusted_keys(path) == (PLAIN, LOCKED)


def test_a_bad_trusted_keys_file_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{PLAIN.line}\n{LOCKED.line[:-1]}\n")
    for use in (trusted_keys, lambda path: trust(KEY.public, path)):
        with pytest.raises(SignatureFormatError, match="keys, line 2"):
            use(path)


# The package and the witness


def test_without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    for use in (
        lambda: sign(DATA, KEY, ""),
        lambda: verify(DATA, SIGNED, [PublicKey(KEY.key_id, PLAIN.key)]),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'bankai\[trust\]'"):
            use()
    assert Signature.decode(SIGNED.encode()) == SIGNED, "reading needs no package"


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_password_that_takes_more_memory_than_there_is() -> None:
    code = (
        "import resource, sys; from bankai.signing.signature import SecretKey;"
        "from cryptography.hazmat.primitives.kdf.scrypt import Scrypt;"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29)); SecretKey.decode(sys.stdin.read(), 'bankai')"
    )
    command, sent = [sys.executable, "-c", code], text("locked.key")
    result = subprocess.run(command, input=sent, capture_output=True, text=True)
    assert "SignatureFormatError: trying the password takes 1024 MiB" in result.stderr


@pytest.fixture
def minisign(tmp_path: Path) -> Callable[..., str]:
    """The real one, in an empty folder with the golden files; fails where it is missing."""
    shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)

    def call(*args: object, password: str = "") -> str:
        command = ["minisign", *map(str, args)]
        result = subprocess.run(command, cwd=tmp_path, input=password + "\n", capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return call


@pytest.mark.engines
@pytest.mark.parametrize(
    "comment", ["", "tab\tand naïve", "a" * MAX_COMMENT], ids=["none", "some", "longest"]
)
def test_minisign_verifies_ours(minisign: Callable[..., str], tmp_path: Path, comment: str) -> None:
    write_signature(sign(DATA, KEY, comment), tmp_path / "rows.bankai")
    (tmp_path / "me.pub").write_text(KEY.public.encode())
    for key in (("-p", "me.pub"), ("-P", KEY.public.line)):
        assert f"Trusted comment: {comment}\n" in minisign("-V", "-H", "-m", "rows.bankai", *key)


@pytest.mark.engines
@pytest.mark.parametrize("password", [None, "bankai", "naïve"])
@pytest.mark.parametrize("limits", [(1 << 15, 1 << 24), (1 << 20, 1000), (536_633, 8_389_385)], ids=str)
def test_minisign_signs_with_our_keys(
    minisign: Callable[..., str], tmp_path: Path, password: str | None, limits: tuple[int, int]
) -> None:
    (tmp_path / "me.key").write_text(KEY.encode(password, work=limits[0], memory=limits[1]))
    plain = ("-W",) if password is None else ()
    minisign("-S", *plain, "-s", "me.key", "-m", "rows.bankai", "-t", "by minisign", password=password or "")
    assert read_signature(tmp_path / "rows.bankai") == sign(DATA, KEY, "by minisign")


@pytest.mark.engines
def test_we_sign_with_minisigns_keys(minisign: Callable[..., str], tmp_path: Path) -> None:
    """At the cost that minisign gives its keys: 1 GiB and seconds."""
    minisign("-G", "-p", "new.pub", "-s", "new.key", password="secret\nsecret")
    for name, password, public in (("new", "secret", "new.pub"), ("locked", "bankai", "locked.pub")):
        key = read_secret_key(tmp_path / f"{name}.key", lambda password=password: password)
        assert key.public == read_public_key(tmp_path / public)
        write_signature(sign(DATA, key, name), tmp_path / "rows.bankai")
        assert f"Trusted comment: {name}\n" in minisign("-V", "-m", "rows.bankai", "-p", public)


@pytest.mark.engines
@pytest.mark.parametrize("kind", AFTER)
def test_minisign_reads_the_first_lines_too(minisign: Callable[..., str], tmp_path: Path, kind: str) -> None:
    signature = write_signature(SIGNED, tmp_path / "rows.bankai")
    signature.write_text(signature.read_text() + AFTER[kind])
    (tmp_path / "me.pub").write_text(f"the key of Ann\n{KEY.public.line}\n{AFTER[kind]}")
    minisign("-V", "-m", "rows.bankai", "-p", "me.pub")
    assert read_signature(tmp_path / "rows.bankai") == SIGNED
    assert read_public_key(tmp_path / "me.pub") == KEY.public


@pytest.mark.engines
def test_minisign_refuses_what_we_refuse(minisign: Callable[..., str], tmp_path: Path) -> None:
    write_signature(SIGNED, tmp_path / "rows.bankai")
    (tmp_path / "me.pub").write_text(KEY.public.encode())
    (tmp_path / "rows.bankai").write_bytes(DATA + b"\0")
    with pytest.raises(AssertionError, match="Signature verification failed"):
        minisign("-V", "-m", "rows.bankai", "-p", "me.pub")
