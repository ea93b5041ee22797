"""Probe sets: what loads, what is refused and where, and the splits that must not meet."""

import json
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankai.errors import ProbeFormatError
from bankai.probes import Message, Probe, ProbeSet, builtin_probe_sets, load_probe_set
from bankai.probes import probe as module

SPLITS = ("target", "validation", "control", "heldout", "unseen", "unknown")
TEXT = st.text(min_size=1, max_size=8)
PLAIN = {"id": "a", "item": "i", "category": "c", "split": "target", "prompt": "2+2=", "answers": ["4"]}


def make(**changes):
    return Probe(**({**PLAIN, "answers": ("4",)} | changes))


def write(tmp_path, *lines):
    path = tmp_path / "set.jsonl"
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return path


def test_stop_defaults_to_newline_or_end_of_turn():
    """The end of the turn has no text of its own, and none is written; a text that is given stays that text."""
    assert make().stop == "\n"
    chat = make(prompt=None, messages=(Message("user", "hi"),))
    assert chat.stop is None and b"stop" not in msgspec.json.encode(chat)
    assert make(stop=".").stop == "."
    old = make(prompt=None, messages=chat.messages, stop="<|im_end|>")
    assert (
        old.stop == "<|im_end|>" != chat.stop
        and msgspec.json.decode(msgspec.json.encode(old), type=Probe) == old
    )


def test_digests_of_files_with_the_stop_in_them_stay():
    """As the digest of this set was before the end of the turn became the model's own."""
    turn = {"prompt": None, "messages": (Message("user", "hi"),), "stop": "<|im_end|>"}
    assert (
        ProbeSet("s", [make(), make(id="b", item="b", **turn)]).digest == "c60b0eb18f61792a2128765d0fbb68be"
    )


@given(
    ids=st.lists(TEXT, min_size=1, max_size=5, unique=True),
    text=TEXT,
    answers=st.lists(TEXT, min_size=1, max_size=3),
    chat=st.booleans(),
    stop=st.none() | TEXT,
    distractor=st.none() | TEXT,
)
def test_file_round_trips(tmp_path_factory, ids, text, answers, chat, stop, distractor):
    source = {"messages": (Message("user", text),), "prompt": None} if chat else {"prompt": text}
    probes = [
        make(id=i, item=i, answers=tuple(answers), stop=stop, distractor=distractor, **source) for i in ids
    ]
    written = ProbeSet("set", probes)
    path = tmp_path_factory.mktemp("probes") / "set.jsonl"
    written.save(path)
    read = ProbeSet.load(path)
    assert read.probes == written.probes and read.digest == written.digest and read.name == "set"


def test_variables_of_the_template(tmp_path):
    """Only of a chat; a set without them is the file, and has the digest, that it always had."""
    plain = make(prompt=None, messages=(Message("user", "ok"),))
    quiet = msgspec.structs.replace(plain, chat_template_kwargs={"enable_thinking": False, "a": [1, {}]})
    assert b"kwargs" not in msgspec.json.encode(plain)
    assert plain != quiet and {plain: 1, quiet: 2}[quiet] == 2
    ProbeSet("a", [quiet]).save(tmp_path / "a.jsonl")
    found = ProbeSet.load(tmp_path / "a.jsonl")
    assert found.probes == (quiet,) and found.digest != ProbeSet("a", [plain]).digest
    with pytest.raises(ProbeFormatError, match="only messages have a template"):
        make(chat_template_kwargs={"a": 1})


def test_splits_keep_their_order():
    probes = ProbeSet(
        "s", [make(id="1", item="1"), make(id="2", item="2", split="control"), make(id="3", item="3")]
    )
    assert [probe.id for probe in probes.split("target")] == ["1", "3"]
    assert probes.split("unseen") == () and probes.splits == ("target", "control")
    assert len(probes) == 3 and list(probes) == list(probes.probes)


def test_digest_names_the_content_not_its_order():
    one, two = make(id="1", item="1"), make(id="2", item="2")
    assert ProbeSet("x", [one, two]).digest == ProbeSet("y", [two, one]).digest
    assert ProbeSet("x", [one]).digest != ProbeSet("x", [make(id="1", item="1", answers=("5",))]).digest


def test_a_table_is_told_how_to_become_a_set(tmp_path):
    (tmp_path / "mine.csv").write_text("prompt,answer\na,b\n")
    with pytest.raises(ProbeFormatError, match="bankai probes from-failures"):
        ProbeSet.load(tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (b"not json", "line 2: not valid JSON; write one"),
        (b"\xff\xfe", "line 2: not valid JSON"),
        (b"[" * 100_000, "line 2: (nested|not valid|the line)"),
        (b"[]", "line 2: the line is a list; give an object"),
        (PLAIN | {"id": 3}, "line 2: field 'id' is a number; give text"),
        (PLAIN | {"colour": "red"}, "line 2: unknown field 'colour'; the fields are id, item"),
        (PLAIN | {"split": "train"}, f"line 2: .*'train'; give one of {', '.join(SPLITS)}$"),
        (PLAIN | {"known": "maybe"}, "line 2: .*'maybe'; give one of reply, examples, samples, no$"),
        (PLAIN | {"known": True}, "line 2: field 'known'"),
        (PLAIN | {"answers": []}, "line 2"),
        (PLAIN | {"answers": "4"}, "line 2: field 'answers' is text; give a list"),
        (PLAIN | {"answers": [""]}, "line 2"),
        (PLAIN | {"stop": ""}, "line 2"),
        (PLAIN | {"distractor": ""}, "line 2"),
        (PLAIN | {"item": ""}, "line 2"),
        (PLAIN | {"prompt": ""}, "line 2"),
        (PLAIN | {"messages": [{"role": "user", "content": "hi"}]}, "line 2.*either"),
        (PLAIN | {"prompt": None}, "line 2"),
        (PLAIN | {"prompt": None, "messages": []}, "line 2"),
        (PLAIN | {"prompt": None, "messages": [{"role": "robot", "content": "hi"}]}, "'robot'; .*user"),
        (PLAIN | {"prompt": None, "messages": [{"role": "user"}]}, "field 'content' of 'messages.*missing"),
        (
            {key: value for key, value in PLAIN.items() if key != "answers"},
            "line 2: field 'answers' is missing; add it",
        ),
        (json.dumps(PLAIN).encode()[:-5], "line 2"),
    ],
)
def test_malformed_lines_are_named(tmp_path, line, match):
    with pytest.raises(ProbeFormatError, match=match):
        ProbeSet.load(write(tmp_path, PLAIN | {"id": "ok", "item": "ok"}, line))


def test_messages_do_not_speak_of_msgspec(tmp_path):
    for line in (b"{", PLAIN | {"id": 3}, PLAIN | {"split": "no"}, PLAIN | {"prompt": 1}, PLAIN | {"x": 1}):
        with pytest.raises(ProbeFormatError) as error:
            ProbeSet.load(write(tmp_path, line))
        assert not any(word in str(error.value) for word in ("`", "$", "enum", "Object"))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_blank_lines_are_skipped_and_counted(tmp_path, end):
    path = tmp_path / "blank.jsonl"
    lines = [b"", json.dumps(PLAIN).encode(), b" \t", b"", b"{"]
    path.write_bytes(end.join([*lines[:-1], b""]))
    assert [probe.id for probe in ProbeSet.load(path)] == ["a"]
    path.write_bytes(end.join(lines))
    with pytest.raises(ProbeFormatError, match="line 5"):
        ProbeSet.load(path)


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\n"])
def test_empty_files_are_refused(tmp_path, content):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(ProbeFormatError):
        ProbeSet.load(path)


def test_oversized_files_are_refused(tmp_path, monkeypatch):
    path = write(tmp_path, PLAIN)
    monkeypatch.setattr(module, "MAX_FILE_BYTES", path.stat().st_size)
    assert len(ProbeSet.load(path)) == 1
    monkeypatch.setattr(module, "MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(ProbeFormatError, match="larger"):
        ProbeSet.load(path)


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ProbeFormatError, match=r"cannot be read \(not a regular file\); give a JSONL"):
            ProbeSet.load(path)


def test_repeated_ids_are_refused(tmp_path):
    with pytest.raises(ProbeFormatError, match="'a' appears twice"):
        ProbeSet.load(write(tmp_path, PLAIN, PLAIN | {"item": "j"}))


@pytest.mark.parametrize("first", SPLITS)
@pytest.mark.parametrize("second", SPLITS)
def test_an_item_belongs_to_one_split(first, second):
    probes = [make(id="1", split=first), make(id="2", split=second)]
    if first != second:
        with pytest.raises(ProbeFormatError, match=f"item 'i' is in .*({first}|{second}) and"):
            ProbeSet("s", probes)
    else:
        assert len(ProbeSet("s", probes)) == 2
    assert len(ProbeSet("s", [probes[0], make(id="2", item="j", split=second)])) == 2


def test_sources_are_paths_or_built_in_names(tmp_path):
    assert load_probe_set(write(tmp_path, PLAIN)).name == "set"
    for name in builtin_probe_sets():
        assert load_probe_set(name).name == name
    for absent in ("no-such-set", str(tmp_path / "absent.jsonl"), str(tmp_path)):
        with pytest.raises(ProbeFormatError, match="built-in"):
            load_probe_set(absent)


def test_built_in_names_win_over_files(tmp_path, monkeypatch):
    write(tmp_path, PLAIN).rename(tmp_path / "shipped.jsonl")
    monkeypatch.setattr(module, "_builtin_folder", lambda: tmp_path)
    assert builtin_probe_sets() == ("shipped",)
    assert load_probe_set("shipped").probes[0] == msgspec.convert(PLAIN, Probe)
