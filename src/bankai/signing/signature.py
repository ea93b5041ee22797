"""Who made a patch: signing and verifying the bytes of its file, and the keys that are trusted.

Contract: a signature covers the exact bytes of the file and its own trusted comment; `verify` returns the key that made
it or raises a SignatureError, never anything in between. Files are those of minisign, so that its users need nothing of
ours: `PATCH.minisig` lies beside PATCH. Reading is bounded in size.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from bankai.errors import SignatureFormatError, StoreError, TamperedError, UnsignedError, UntrustedKeyError
from bankai.io import RefusedFileError, check_absent, decode_text, read_bounded, writing
from bankai.signing.minisign import MAX_TEXT, PublicKey, SecretKey, Signature, is_encrypted, key_text

__all__ = [
    "PublicKey",
    "SecretKey",
    "Signature",
    "check_no_keys",
    "create_keys",
    "is_encrypted",
    "key_text",
    "read_public_key",
    "read_secret_key",
    "read_signature",
    "sign",
    "signature_path",
    "trust",
    "trusted_keys",
    "trusted_keys_path",
    "verify",
    "write_signature",
]

_MAX_TRUSTED = 64 << 10  # bytes: a thousand keys


def sign(data: bytes, key: SecretKey, trusted_comment: str) -> Signature:
    """The signature of the bytes of a file and of a comment, one line of text.

    Raises SignatureFormatError for another comment, MissingExtraError without `cryptography`.
    """
    return Signature.make(data, key, trusted_comment)


def verify(data: bytes, signature: Signature, keys: Iterable[PublicKey]) -> PublicKey:
    """The one of `keys` that signed exactly these bytes and the signature's comment.

    Raises UntrustedKeyError when none has the id of the signer's, TamperedError when the signature does not fit,
    MissingExtraError without `cryptography`.
    """
    candidates = [key for key in keys if key.key_id == signature.key_id]
    if not candidates:
        raise UntrustedKeyError(
            f"signed by key {key_text(signature.key_id)}, which is not trusted; "
            "if you know whose it is, give it by --key or run: bankai trust PUB"
        )
    for key in candidates:
        if signature.fits(data, key):
            return key
    raise TamperedError(
        f"the signature of key {key_text(signature.key_id)} does not fit these bytes: the file or its signature was "
        "changed; fetch both again from their maker"
    )


def signature_path(path: str | Path) -> Path:
    """Where the signature of a file lies."""
    return Path(f"{path}.minisig")


def read_signature(path: str | Path) -> Signature:
    """The signature beside the file at `path`. Raises UnsignedError for none, SignatureFormatError."""
    place = signature_path(path)
    if not os.path.lexists(place):
        raise UnsignedError(
            f"{path} is not signed: there is no {place.name}; ask its maker, or sign it yourself"
        )
    text = _read(place)
    try:
        return Signature.decode(text)
    except SignatureFormatError as error:
        raise SignatureFormatError(f"{place}: {error}") from None


def write_signature(signature: Signature, path: str | Path) -> Path:
    """Put the signature beside the file at `path`, over an earlier one only, and tell where. Raises StoreError."""
    place = signature_path(path)
    if os.path.lexists(place):
        try:
            Signature.decode(_read(place))
        except SignatureFormatError:
            raise StoreError(f"{place} exists and is not a signature; move it away first") from None
    _write(place, signature.encode())
    return place


def read_public_key(source: str | Path) -> PublicKey:
    """The key in a public key file, or the one that `source` itself spells. Raises SignatureFormatError."""
    there = os.path.lexists(source)
    text = _read(Path(source)) if there else str(source)
    try:
        return PublicKey.decode(text)
    except SignatureFormatError as error:
        problem = (
            error if there else "neither a file nor a public key; check the path, or give the key itself"
        )
        raise SignatureFormatError(f"{source}: {problem}") from None


def read_secret_key(path: Path, password: Callable[[], str]) -> SecretKey:
    """The key in a secret key file; the password is asked for only when there is one.

    Raises SignatureFormatError, for a wrong password too, and MissingExtraError.
    """
    text = _read(path)
    try:
        return SecretKey.decode(text, password() if is_encrypted(text) else None)
    except SignatureFormatError as error:
        raise SignatureFormatError(f"{path}: {error}") from None


def check_no_keys(name: Path) -> tuple[Path, Path]:
    """NAME.key and NAME.pub. Raises StoreError when either exists."""
    secret, public = Path(f"{name}.key"), Path(f"{name}.pub")
    check_absent(secret)
    check_absent(public)
    return secret, public


def create_keys(name: Path, password: str | None) -> tuple[Path, Path, PublicKey]:
    """Write NAME.key, for its owner's eyes only, and NAME.pub, and tell both and the key.

    Raises StoreError, also when either exists: keys are never replaced. Raises MissingExtraError.
    """
    secret, public = check_no_keys(name)
    key = SecretKey.generate()
    text = key.encode(password)
    try:
        os.close(
            os.open(secret, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        )  # of two at once one gets the name
    except OSError as error:
        raise StoreError(f"{secret} cannot be written: {error.strerror}; choose another place") from None
    try:
        _write(secret, text, 0o600)
        _write(public, key.public.encode())
    except BaseException:  # a secret key alone would keep the name and be of no use
        secret.unlink(missing_ok=True)
        raise
    return secret, public, key.public


def trusted_keys_path() -> Path:
    """The user's file of trusted keys."""
    config = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(config) if os.path.isabs(config) else Path.home() / ".config"
    return folder / "bankai" / "trusted_keys"


def trusted_keys(path: str | Path | None = None) -> tuple[PublicKey, ...]:
    """The keys of a trusted-keys file, the user's own by default; none when it does not exist.

    One key a line, as `PublicKey.line`; "#" begins a comment, and so does the first line of a public key file. Raises
    SignatureFormatError.
    """
    path = trusted_keys_path() if path is None else Path(path)
    return tuple(_trusted(path, _read_trusted(path)))


def trust(key: PublicKey, path: str | Path | None = None) -> bool:
    """Add a key to a trusted-keys file, unless it is there: tells whether it was added.

    Raises SignatureFormatError for a file that is unsound, StoreError for one that cannot be written.
    """
    path = trusted_keys_path() if path is None else Path(path)
    data = _read_trusted(path)
    if key in _trusted(path, data):
        return False
    data += b"\n" if data and not data.endswith(b"\n") else b""
    path = Path(os.path.realpath(path))  # a link into a folder of settings stays one
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path.parent} cannot be made: {error.strerror}; set XDG_CONFIG_HOME") from None
    _write(path, f"{data.decode()}{key.line}\n", 0o600)
    return True


def _trusted(path: Path, data: bytes) -> list[PublicKey]:
    keys = []
    if b"\r" in data.replace(b"\r\n", b""):  # many programs show what follows it as a part of the same line
        raise SignatureFormatError(f"{path} has carriage returns inside its lines; write one key a line")
    for number, line in enumerate(_text(path, data).split("\n"), 1):
        key = line.partition("#")[0].strip()
        if key and not key.startswith("untrusted comment:"):
            try:
                keys.append(PublicKey.decode(key))
            except SignatureFormatError as error:
                raise SignatureFormatError(f"{path}, line {number}: {error}") from None
    return keys


def _read_trusted(path: Path) -> bytes:
    return _read_bytes(path, _MAX_TRUSTED) if os.path.lexists(path) else b""


def _read(path: Path) -> str:
    """The text of a key or signature file. Raises SignatureFormatError."""
    return _text(path, _read_bytes(path, MAX_TEXT))


def _text(path: Path, data: bytes) -> str:
    try:
        return decode_text(data)
    except UnicodeDecodeError:
        raise SignatureFormatError(f"{path} is not text; give a file of keys or a signature") from None


def _read_bytes(path: Path, limit: int) -> bytes:
    """What a small regular file holds. Raises SignatureFormatError."""
    try:
        return read_bounded(path, limit)
    except RefusedFileError as error:
        raise SignatureFormatError(
            f"{path} is {error.strerror}; give a file of keys or a signature"
        ) from None
    except OSError as error:
        raise SignatureFormatError(
            f"cannot read {path}: {error.strerror}; check path and permissions"
        ) from None


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Whole or not at all, and never readable by more than `mode` allows. Raises StoreError."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_EXCL, mode)

    with (
        writing(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="\n", opener=opener) as file,
    ):
        file.write(text)
