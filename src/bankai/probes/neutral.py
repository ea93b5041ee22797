"""Neutral texts: what a patch should read as before, though no probe asks for it.

A neutral text is plain text, one paragraph after another with an empty line between. ``nano-neutral`` is made by
models/nano/probe_sets.py and holds nano's chat markers as text; ``neutral-en`` was written by hand for larger models.
"""

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from bankai.errors import ProbeFormatError
from bankai.io import LargeFileError, decode_text, read_bounded

__all__ = ["builtin_neutral_texts", "load_neutral_texts"]

MAX_FILE_BYTES = 4 * 2**20
EMPTY_LINES = re.compile(r"\n(?:[ \t]*\n)+")


def _builtin_folder() -> Traversable:
    return resources.files("bankai.probes") / "texts"


def builtin_neutral_texts() -> tuple[str, ...]:
    """Names of the texts that come with the package."""
    files = _builtin_folder().iterdir()
    return tuple(sorted(file.name.removesuffix(".txt") for file in files if file.name.endswith(".txt")))


def load_neutral_texts(source: str | Path) -> tuple[str, ...]:
    """The paragraphs of a built-in text by its name, else of a UTF-8 file by its path, without their last newlines.

    Raises ProbeFormatError when there is none, and for a file that is too large or not UTF-8.
    """
    if str(source) in builtin_neutral_texts():
        file = _builtin_folder() / f"{source}.txt"
        return _paragraphs(file.read_bytes(), str(file))
    if not Path(source).is_file():
        names = ", ".join(builtin_neutral_texts())
        raise ProbeFormatError(f"{source}: neither a file nor a built-in neutral text (those are: {names})")
    try:
        return _paragraphs(read_bounded(source, MAX_FILE_BYTES), str(source))
    except LargeFileError:
        raise ProbeFormatError(
            f"{source}: larger than {MAX_FILE_BYTES >> 20} MiB; give a part of it"
        ) from None
    except OSError as error:
        raise ProbeFormatError(f"{source}: cannot be read ({error.strerror}); give a text file") from error


def _paragraphs(data: bytes, source: str) -> tuple[str, ...]:
    try:
        text = decode_text(data)
    except UnicodeDecodeError as error:
        raise ProbeFormatError(
            f"{source}: byte {error.start} is not UTF-8; save the text as UTF-8"
        ) from error
    paragraphs = EMPTY_LINES.split(text)
    found = tuple(paragraph.strip("\n") for paragraph in paragraphs if paragraph.strip())
    if not found:
        raise ProbeFormatError(f"{source}: no text; write paragraphs with an empty line between them")
    return found
