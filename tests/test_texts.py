"""What somebody wrote reads the same whichever editor saved it: with a byte-order mark, with other line ends.

Every reader of such files is here, with a sound file of its kind.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bankai.checkpoint.convert import convert
from bankai.checkpoint.mlx import MLXDirectory
from bankai.errors import BankaiError, SignatureFormatError
from bankai.evaluation.text import measure_text_file
from bankai.io import decode_text
from bankai.patch import Binding, Flip, Manifest, Patch, encode_json, read_patch
from bankai.patching.sidecar import Applied, load, save
from bankai.probes import ProbeSet, load_neutral_texts
from bankai.probes.cases import read_cases
from bankai.signing.signature import (
    SecretKey,
    read_public_key,
    read_secret_key,
    read_signature,
    sign,
    trusted_keys,
)

MARK = "\ufeff"
SAVED = {
    "with a mark": lambda text: MARK + text,
    "on Windows": lambda text: text.replace("\n", "\r\n"),
    "by Notepad": lambda text: MARK + text.replace("\n", "\r\n"),
    "on an old Mac": lambda text: text.replace("\n", "\r"),
}

KEY = SecretKey(b"12345678", bytes(32))
PATCH = Patch.of([Flip("model.layers.0.mlp.up_proj", 1)], Manifest(name="é", description="a\nb"))
PROBE = '{"id": "a", "item": "i", "category": "c", "split": "heldout", "prompt": "é", "answers": ["4"]}\n'
TABLE = 'prompt{0}answer{0}note\n"first\nsecond"{0}4{0}n\n\nwho{0}"a\n\nb"{0}\n'


def read_trusted(path: Path) -> object:
    return trusted_keys(path)


def read_beside(path: Path) -> object:
    return read_signature(path.with_suffix(""))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "set.jsonl": ("\n".join([PROBE, PROBE.replace('"a"', '"b"')]), lambda path: ProbeSet.load(path).probes),
    "neutral.txt": ("one\ntwo\n\nthree é\n", load_neutral_texts),
    "rows.csv": (TABLE.format(","), lambda path: read_cases(path).probes),
    "semicolons.csv": (TABLE.format(";"), lambda path: read_cases(path).probes),
    "rows.tsv": (TABLE.format("\t"), lambda path: read_cases(path).probes),
    "excel.csv": ("sep=;\n" + TABLE.format(";"), lambda path: read_cases(path).probes),
    "rows.jsonl": ('{"prompt": "é",\t"answer": "4"}\n\n', lambda path: read_cases(path).probes),
    "patch.json": (encode_json(PATCH).decode(), lambda path: (read_patch(path), read_patch(path).manifest)),
    "key.pub": (KEY.public.encode(), read_public_key),
    "key.key": (KEY.encode(), lambda path: read_secret_key(path, str)),
    "p.bankai.minisig": (sign(b"data", KEY, "a comment, é").encode(), read_beside),
}


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("name", READERS)
def test_a_text_reads_the_same_however_it_was_saved(tmp_path: Path, name: str, saved: str) -> None:
    text, read = READERS[name]
    sound = read(write(tmp_path / name, text))
    assert sound and read(write(tmp_path / name, SAVED[saved](text))) == sound


@pytest.mark.parametrize("saved", SAVED)
def test_so_do_trusted_keys(tmp_path: Path, saved: str) -> None:
    """But for one thing: what follows a carriage return alone is seen by some programs and not by others."""
    other = SecretKey(b"87654321", bytes(32)).public
    path = write(tmp_path / "keys", SAVED[saved](f"# mine\n{KEY.public.line}\n{other.line} # Ann's\n"))
    if saved == "on an old Mac":
        with pytest.raises(SignatureFormatError, match="carriage returns inside"):
            trusted_keys(path)
    else:
        assert trusted_keys(path) == (KEY.public, other)


@pytest.mark.parametrize("saved", SAVED)
def test_so_does_the_list_of_what_is_applied(tmp_path: Path, saved: str) -> None:
    bound = Patch(PATCH.flips, Binding(b"f" * 8, b"b" * 8, b"a" * 8), PATCH.manifest)
    path, listed = tmp_path / "m.gguf.bankai.json", (Applied(bound, "2026-01-01T00:00:00+00:00"),)
    save(path, listed)
    write(path, SAVED[saved](path.read_text()))
    assert load(path) == (listed, "")


@pytest.mark.parametrize("saved", SAVED)
def test_so_does_every_text_of_an_mlx_directory(tiny_gguf: Path, tmp_path: Path, saved: str) -> None:
    def read() -> tuple[object, ...]:
        directory = MLXDirectory(model)
        try:
            return directory.config, directory.tokenizer(300)
        finally:
            directory.close()

    model = convert(tiny_gguf, tmp_path / "model")
    write(model / "chat_template.jinja", "{% for m in messages %}\n{{ m.content }}é\n{% endfor %}")
    names = ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
    sound = read()
    for name in (*names, "chat_template.jinja"):
        write(model / name, SAVED[saved](decode_text((model / name).read_bytes())))
        assert read() == sound, name


@pytest.mark.parametrize("saved", SAVED)
def test_so_does_a_text_that_is_measured(tiny_gguf: Path, tmp_path: Path, saved: str) -> None:
    text = "the answer\nto the question\n\nis what the number equals\n"
    sound = measure_text_file(tiny_gguf, write(tmp_path / "a.txt", text))
    assert measure_text_file(tiny_gguf, write(tmp_path / "b.txt", SAVED[saved](text))) == sound


def test_escapes_inside_of_json_stay(tmp_path: Path) -> None:
    """Who spells a carriage return wants one."""
    row = json.dumps({"prompt": "a\r\nb\ufeff", "answer": "4"})
    (probe,) = read_cases(write(tmp_path / "rows.jsonl", row)).probes
    assert probe.prompt == "a\r\nb\ufeff"


@contextmanager
def seconds(number: int) -> Iterator[None]:
    """Raises TimeoutError in what takes longer, also where it waits for the system."""

    def ring(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(number)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", [*READERS, "keys", "measured"])
def test_a_pipe_that_nobody_writes_is_not_waited_for(tiny_gguf: Path, tmp_path: Path, name: str) -> None:
    more = {"keys": read_trusted, "measured": lambda path: measure_text_file(tiny_gguf, path)}
    read = more[name] if name in more else READERS[name][1]
    os.mkfifo(tmp_path / name)
    with seconds(60), pytest.raises(BankaiError):
        read(tmp_path / name)
