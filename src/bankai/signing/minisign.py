"""Keys and signatures as values, in the formats of minisign; `docs/format.md` gives their bytes.

Contract: whatever `encode` writes, minisign reads, and the reverse. Any text either decodes or raises
SignatureFormatError; a key under a password takes no more work and memory than minisign's own keys, 1 GiB. What needs
the `cryptography` package raises MissingExtraError without it.
"""

import base64
import hashlib
import secrets
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType

from bankai.errors import MissingExtraError, SignatureFormatError

__all__ = ["MAX_COMMENT", "MAX_TEXT", "PublicKey", "SecretKey", "Signature", "is_encrypted", "key_text"]

MAX_COMMENT = 8173
"""The longest trusted comment in bytes: minisign reads the line into 8,192, with label, line end and a zero."""
MAX_TEXT = 16 << 10
"""The longest text of a key or signature, in bytes."""

_PURE, _PREHASHED = b"Ed", b"ED"
_NO_PASSWORD, _SCRYPT, _BLAKE2 = b"\0\0", b"Sc", b"B2"
_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "
_WORK, _MEMORY = 1 << 23, 1 << 28  # of new keys: 256 MiB, a quarter of what minisign takes
_MAX_WORK, _MAX_MEMORY = 1 << 25, 1 << 30  # what minisign takes

_P = 2**255 - 19
_Y8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL_ORDER = {0, 1, _P - 1, _P, _P + 1, _Y8, _P - _Y8}
"""The y of every point whose eightfold is zero, also unreduced: under such a key anybody can sign."""


def key_text(key_id: bytes) -> str:
    """A key id as minisign shows it."""
    return key_id[::-1].hex().upper()


def is_encrypted(text: str) -> bool:
    """Whether a secret key file is under a password. Raises SignatureFormatError."""
    return _secret_bytes(text)[2:4] == _SCRYPT


@dataclass(frozen=True)
class PublicKey:
    """What verifies signatures. The id only tells which key to try: it proves nothing."""

    key_id: bytes
    key: bytes

    def encode(self) -> str:
        """The text of a public key file."""
        return f"{_UNTRUSTED}minisign public key {key_text(self.key_id)}\n{self.line}\n"

    @property
    def line(self) -> str:
        """The key without the comment: what `minisign -P` takes and a trusted-keys file holds."""
        return _base64(_PURE + self.key_id + self.key)

    @classmethod
    def decode(cls, text: str) -> "PublicKey":
        """The key of a public key file, its second line, or of that line alone. Raises SignatureFormatError."""
        first, *others = _lines(text, "public key")
        alone = not "".join(others).strip()
        data = _bytes(first if alone else others[0], 42, "public key")
        if data[:2] != _PURE:
            raise _no("public key")
        if int.from_bytes(data[10:], "little") % 2**255 in _SMALL_ORDER:
            raise SignatureFormatError("under this public key anybody can sign; do not trust who gave it")
        return cls(data[2:10], data[10:])

    def fits(self, signature: bytes, message: bytes) -> bool:
        """Whether 64 bytes are the signature of exactly this message under this key."""
        module = _ed25519()
        from cryptography.exceptions import InvalidSignature

        try:
            module.Ed25519PublicKey.from_public_bytes(self.key).verify(signature, message)
        except (InvalidSignature, ValueError):  # the latter for a key that is no point of the curve
            return False
        return True


@dataclass(frozen=True)
class SecretKey:
    """What signs. Its seed does not show when it is printed."""

    key_id: bytes
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> "SecretKey":
        """A new key with a random id."""
        return cls(secrets.token_bytes(8), secrets.token_bytes(32))

    @cached_property
    def public(self) -> PublicKey:
        """The key that verifies what this one signs."""
        key = _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed)
        return PublicKey(self.key_id, key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of a signature."""
        signature: bytes = _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)
        return signature

    def encode(self, password: str | None = None, *, work: int = _WORK, memory: int = _MEMORY) -> str:
        """The text of a secret key file, under a password unless that is None.

        `work` and `memory` are libsodium's limits of scrypt; they stand in the file.
        """
        secret = self.key_id + self.seed + self.public.key
        secret += _checksum(secret)
        kind, head = "secret key", _PURE + _NO_PASSWORD + _BLAKE2 + bytes(48)
        if password is not None:
            kind, limits = "encrypted secret key", work.to_bytes(8, "little") + memory.to_bytes(8, "little")
            head = _PURE + _SCRYPT + _BLAKE2 + secrets.token_bytes(32) + limits
            secret = _mask(secret, password, head)
        return f"{_UNTRUSTED}minisign {kind}\n{_base64(head + secret)}\n"

    @classmethod
    def decode(cls, text: str, password: str | None = None) -> "SecretKey":
        """The key of a secret key file; a password that it does not need is ignored.

        Raises SignatureFormatError, for a missing or wrong password too.
        """
        data = _secret_bytes(text)
        head, secret, encrypted = data[:54], data[54:], data[2:4] == _SCRYPT
        if encrypted:
            if password is None:
                raise SignatureFormatError("the secret key is under a password; give it")
            secret = _mask(secret, password, head)
        key, checksum = cls(secret[:8], secret[8:40]), secret[72:]
        sound = (
            checksum == _checksum(secret[:72]) or not encrypted and checksum == bytes(32)
        )  # minisign leaves it out
        if not sound or key.public.key != secret[40:72]:
            fault = (
                "the password is wrong, or the secret key damaged"
                if encrypted
                else "the secret key is damaged"
            )
            raise SignatureFormatError(f"{fault}; try again, or take the file from a backup")
        return key


@dataclass(frozen=True)
class Signature:
    """A detached signature of some bytes, and of a comment that goes with them."""

    key_id: bytes
    signature: bytes
    global_signature: bytes
    trusted_comment: str
    prehashed: bool = True

    @classmethod
    def make(cls, data: bytes, key: SecretKey, trusted_comment: str) -> "Signature":
        """Sign data and comment. Raises SignatureFormatError for a comment that is not one short line."""
        _check_comment(trusted_comment)
        signature = key.sign(_digest(data))
        return cls(key.key_id, signature, key.sign(signature + trusted_comment.encode()), trusted_comment)

    def fits(self, data: bytes, key: PublicKey) -> bool:
        """Whether `key` signed exactly this data and this comment."""
        message = _digest(data) if self.prehashed else data
        return key.fits(self.signature, message) and key.fits(
            self.global_signature, self.signature + self.trusted_comment.encode()
        )

    def encode(self) -> str:
        """The text of a signature file."""
        return (
            f"{_UNTRUSTED}signature from minisign secret key\n{_base64(self._head)}\n"
            f"{_TRUSTED}{self.trusted_comment}\n{_base64(self.global_signature)}\n"
        )

    @classmethod
    def decode(cls, text: str) -> "Signature":
        """The signature in the text of a signature file. Raises SignatureFormatError."""
        lines = _lines(text, "signature")
        if len(lines) < 4 or not lines[0].startswith(_UNTRUSTED) or not lines[2].startswith(_TRUSTED):
            raise _no("signature")
        head, end = _bytes(lines[1], 74, "signature"), _bytes(lines[3], 64, "signature")
        return cls._of(head, end, lines[2].removeprefix(_TRUSTED))

    def pack(self) -> bytes:
        """The signature as few bytes: 138 and the comment."""
        return self._head + self.global_signature + self.trusted_comment.encode()

    @classmethod
    def unpack(cls, data: bytes) -> "Signature":
        """The signature in packed bytes. Raises SignatureFormatError."""
        if len(data) < 138:
            raise _no("signature")
        try:
            return cls._of(data[:74], data[74:138], data[138:].decode())
        except UnicodeDecodeError:
            raise _no("signature") from None

    @property
    def _head(self) -> bytes:
        return (_PREHASHED if self.prehashed else _PURE) + self.key_id + self.signature

    @classmethod
    def _of(cls, head: bytes, global_signature: bytes, trusted_comment: str) -> "Signature":
        if head[:2] not in (_PURE, _PREHASHED):
            raise _no("signature")
        _check_comment(trusted_comment)
        return cls(head[2:10], head[10:], global_signature, trusted_comment, head[:2] == _PREHASHED)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data).digest()


def _checksum(secret: bytes) -> bytes:
    return hashlib.blake2b(_PURE + secret, digest_size=32).digest()


def _check_comment(comment: str) -> None:
    """A tab is fine: minisign's own comments have some."""
    text = comment.replace("\t", "")
    # Most are printable, which is quicker to tell; a library asks for thousands.
    fault = not text.isprintable() and any(unicodedata.category(one) in ("Cc", "Cs") for one in text)
    if fault or len(comment.encode()) > MAX_COMMENT:
        raise SignatureFormatError(
            f"a trusted comment is one line of at most {MAX_COMMENT} bytes; shorten it"
        )


def _secret_bytes(text: str) -> bytes:
    """The bytes of a secret key file, of a known kind."""
    lines = _lines(text, "secret key")
    if len(lines) < 2:
        raise _no("secret key")
    data = _bytes(lines[1], 158, "secret key")
    if data[:2] != _PURE or data[2:4] not in (_NO_PASSWORD, _SCRYPT) or data[4:6] != _BLAKE2:
        raise _no("secret key")
    return data


def _mask(secret: bytes, password: str, head: bytes) -> bytes:
    """XOR with what scrypt makes of the password under the salt and limits in `head`: both ways the same."""
    work, memory = (int.from_bytes(head[at : at + 8], "little") for at in (38, 46))
    if work > _MAX_WORK or memory > _MAX_MEMORY:
        raise SignatureFormatError(
            "the secret key asks for more memory or work than minisign's do; do not use it"
        )
    _ed25519()
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    log_n, p = _scrypt_parameters(work, memory)
    kdf = Scrypt(salt=head[6:38], length=len(secret), n=1 << log_n, r=8, p=p)
    try:
        stream = kdf.derive(password.encode("utf-8", "surrogateescape"))  # the bytes that the system gave
    except MemoryError:
        raise SignatureFormatError(
            f"trying the password takes {(1 << log_n) + p >> 10} MiB of memory, which is not there; end something else"
        ) from None
    return bytes(a ^ b for a, b in zip(secret, stream, strict=True))


def _scrypt_parameters(work: int, memory: int) -> tuple[int, int]:
    """log2 N and p, for r = 8, as libsodium takes them from its two limits."""
    work = max(work, 1 << 15)
    bounded_by_work = work < memory // 32
    largest = work // 32 if bounded_by_work else memory // 1024
    log_n = max(largest.bit_length() - 1, 1)
    return log_n, 1 if bounded_by_work else (work // 4 >> log_n) // 8


def _lines(text: str, what: str) -> list[str]:
    """Lines without their ends; SignatureFormatError when the text is too long.

    Like minisign, who asks for a key or signature reads the first lines of its kind and no more.
    """
    if len(text) > MAX_TEXT:
        raise SignatureFormatError(
            f"the {what} is longer than {MAX_TEXT} bytes; give a {what} of minisign's kind"
        )
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(line: str, size: int, what: str) -> bytes:
    """So many bytes in base64, in its one canonical spelling."""
    try:
        data = base64.b64decode(line.encode("ascii"), validate=True)
    except ValueError:
        raise _no(what) from None
    if len(data) != size or _base64(data) != line:
        raise _no(what)
    return data


def _no(what: str) -> SignatureFormatError:
    return SignatureFormatError(f"this is no {what} in minisign's format, or it is damaged; get it again")


def _ed25519() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtraError(
            "signatures need cryptography; install it with pip install 'bankai[trust]'"
        ) from error
    return ed25519
