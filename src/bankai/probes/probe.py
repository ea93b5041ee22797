"""Probes, splits and their JSONL file: one probe a line.

A probe set is sound by construction: ids are unique and no item is in two splits. Whether a probe makes sense for a
model is the audit's question.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from hashlib import blake2b
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from bankai.errors import ProbeFormatError
from bankai.io import LargeFileError, decode_text, read_bounded, writing
from bankai.probes.faults import explain
from bankai.probes.graders import Grader

__all__ = [
    "REPORTED",
    "TEXT_STOP",
    "Known",
    "Message",
    "Probe",
    "ProbeSet",
    "Split",
    "builtin_probe_sets",
    "load_probe_set",
]

TEXT_STOP = "\n"
MAX_FILE_BYTES = 64 * 2**20
Split = Literal["target", "validation", "control", "heldout", "unseen", "unknown"]
"""`unknown`: what the model fails and does not know; reported, never searched on."""
REPORTED: frozenset[Split] = frozenset({"heldout", "unseen", "unknown"})
"""The splits that no search reads."""
Known = Literal["reply", "examples", "samples", "no"]
"""How a model that fails a probe shows that it knows the answer: it names the answer in a longer reply of its own,
gives it after solved examples, or gives a right reply when its tokens are drawn at random. `no`: in none of these
ways."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One chat turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A prompt or chat, and the answers that count as right.

    ``prefix`` is assistant text before the answer. An answer counts only with its ``stop``, so that " 6" cannot pass
    for " 63": by default a newline after a prompt, and None after chat messages, which is the end of the turn: any
    token that ends a text for the model. ``distractor`` is a wrong answer that the model is expected to give.
    ``chat_template_kwargs`` are variables of the model's chat template, such as ``{"enable_thinking": false}``.
    ``known`` is what was found out of a probe that the model fails, and None of others. ``grade`` judges what the model
    writes by itself, up to the stop, in reports; a search reads the answers, which are then replies that it accepts.
    With it a probe that no search reads may have no answers. Raises ProbeFormatError when unsound.
    """

    id: str
    item: str
    category: str
    split: Split
    answers: tuple[str, ...]
    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    prefix: str = ""
    stop: str | None = None
    distractor: str | None = None
    chat_template_kwargs: dict[str, Any] = {}
    known: Known | None = None
    grade: Grader | None = None

    @property
    def asked(self) -> str:
        """The prompt, or what the messages say, a line each."""
        return self.prompt or "\n".join(message.content for message in self.messages or ())

    def __hash__(self) -> int:
        """By its id: variables have no hash."""
        return hash(self.id)

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise ProbeFormatError(
                f"probe {self.id!r}: split {self.split!r} is not one of {', '.join(get_args(Split))}"
            )
        if self.known not in (None, *get_args(Known)):
            raise ProbeFormatError(
                f"probe {self.id!r}: known {self.known!r} is not one of {', '.join(get_args(Known))}"
            )
        if not (self.id and self.item and self.category):
            raise ProbeFormatError(f"probe {self.id!r}: id, item and category must not be empty")
        if bool(self.prompt) == bool(self.messages):
            raise ProbeFormatError(f"probe {self.id!r}: give either a prompt or messages, not empty")
        if self.chat_template_kwargs and not self.messages:
            raise ProbeFormatError(
                f"probe {self.id!r}: only messages have a template; leave chat_template_kwargs out"
            )
        if not self.answers and (self.grade is None or self.split not in REPORTED):
            raise ProbeFormatError(f"probe {self.id!r}: no answer; give the reply to learn from")
        if "" in self.answers or self.distractor == "" or self.stop == "":
            raise ProbeFormatError(f"probe {self.id!r}: answers, distractor and stop must not be empty")
        if self.stop is None and self.messages is None:
            msgspec.structs.force_setattr(self, "stop", TEXT_STOP)


class ProbeSet:
    """Named probes, in order.

    An item belongs to one split, with all its phrasings: what a search reads must not answer for what it never
    saw. Raises ProbeFormatError when empty, on a repeated id and on an item in two splits.
    """

    def __init__(self, name: str, probes: Iterable[Probe]) -> None:
        self.name = name
        self.probes = tuple(probes)
        if not self.probes:
            raise ProbeFormatError(f"{name}: no probes; write one JSON object per line")
        _check_ids(name, self.probes)
        _check_disjoint(name, self.probes)

    def __len__(self) -> int:
        return len(self.probes)

    def __iter__(self) -> Iterator[Probe]:
        return iter(self.probes)

    def __repr__(self) -> str:
        return f"ProbeSet({self.name!r}, {len(self)} probes)"

    def split(self, name: Split) -> tuple[Probe, ...]:
        """The probes of one split, in order; may be empty."""
        return tuple(probe for probe in self.probes if probe.split == name)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that have probes."""
        used = {probe.split for probe in self.probes}
        return tuple(split for split in get_args(Split) if split in used)

    @cached_property
    def digest(self) -> str:
        """32 hex digits that name the content, whatever its order: blake2b of the sorted lines."""
        lines = sorted(msgspec.json.encode(probe) for probe in self.probes)
        return blake2b(b"\n".join(lines), digest_size=16).hexdigest()

    @classmethod
    def load(cls, path: str | Path) -> "ProbeSet":
        """Read a JSONL file; blank lines are skipped. Raises ProbeFormatError that names file and line."""
        try:
            data = read_bounded(path, MAX_FILE_BYTES)
        except LargeFileError:
            raise ProbeFormatError(
                f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; split it into several sets"
            ) from None
        except OSError as error:
            raise ProbeFormatError(f"{path}: cannot be read ({error.strerror}); give a JSONL file") from error
        return cls(Path(path).stem, _decode_lines(data, str(path)))

    def save(self, path: str | Path) -> None:
        """Write a JSONL file that loads to the same probes. Raises StoreError."""
        with writing(Path(path)) as temporary:
            temporary.write_bytes(b"".join(msgspec.json.encode(probe) + b"\n" for probe in self.probes))


def _decode_lines(data: bytes, source: str) -> Iterator[Probe]:
    if source.lower().endswith((".csv", ".tsv")):
        raise ProbeFormatError(
            f"{source}: a table is no probe set; make one: bankai probes from-failures {source}"
        )
    try:
        text = decode_text(data)
    except UnicodeDecodeError as error:
        bad = data.count(b"\n", 0, error.start) + 1
        raise ProbeFormatError(f"{source}, line {bad}: {explain(error, Probe)}") from error
    decoder = msgspec.json.Decoder(Probe)
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield decoder.decode(line)
        except ProbeFormatError as error:
            raise ProbeFormatError(f"{source}, line {number}: {error}") from error
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ProbeFormatError(f"{source}, line {number}: {explain(error, Probe)}") from error


def _check_ids(name: str, probes: tuple[Probe, ...]) -> None:
    seen: set[str] = set()
    for probe in probes:
        if probe.id in seen:
            raise ProbeFormatError(f"{name}: probe id {probe.id!r} appears twice; give each probe its own")
        seen.add(probe.id)


def _check_disjoint(name: str, probes: tuple[Probe, ...]) -> None:
    splits: dict[str, set[Split]] = defaultdict(set)
    for probe in probes:
        splits[probe.item].add(probe.split)
    for item, used in splits.items():
        if len(used) > 1:
            shared = " and ".join(split for split in get_args(Split) if split in used)
            raise ProbeFormatError(
                f"{name}: item {item!r} is in {shared}; keep all its probes in one of them"
            )


def _builtin_folder() -> Traversable:
    return resources.files("bankai.probes") / "sets"


def builtin_probe_sets() -> tuple[str, ...]:
    """Names of the sets that come with the package."""
    folder = _builtin_folder()
    files = folder.iterdir() if folder.is_dir() else ()
    return tuple(sorted(file.name.removesuffix(".jsonl") for file in files if file.name.endswith(".jsonl")))


def load_probe_set(source: str | Path) -> ProbeSet:
    """A built-in set by its name, else a JSONL file by its path. Raises ProbeFormatError."""
    if str(source) in builtin_probe_sets():
        file = _builtin_folder() / f"{source}.jsonl"
        return ProbeSet(str(source), _decode_lines(file.read_bytes(), str(file)))
    if not Path(source).is_file():
        names = ", ".join(builtin_probe_sets()) or "none"
        raise ProbeFormatError(f"{source}: neither a file nor a built-in probe set (those are: {names})")
    return ProbeSet.load(source)
