"""Neutral texts: the file's rules, and that no built-in text answers what a report asks."""

import re
from collections import Counter
from pathlib import Path

import pytest

from bankai.errors import ProbeFormatError
from bankai.probes import builtin_neutral_texts, builtin_probe_sets, load_neutral_texts, load_probe_set
from bankai.probes import neutral as module

NANO_SOURCES = Path(__file__).parents[2] / "models/nano"
NANO_SETS = ("arithmetic", "calculus", "elicitable", "knowledge", "limited")
REPORTED = ("target", "validation", "heldout", "unseen")


def write(folder, data):
    path = folder / "text.txt"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "paragraphs"),
    [
        (b"one", ("one",)),
        (b"one\n\ntwo\n", ("one", "two")),
        (b"\n\n  one\n two\n\n\n \t\n\nthree\n\n", ("  one\n two", "three")),
        (b"one\r\nmore\r\n\r\ntwo\r\n", ("one\nmore", "two")),
        (b"\xef\xbb\xbfone\n\ncaf\xc3\xa9", ("one", "café")),
    ],
)
def test_empty_lines_part_paragraphs(tmp_path, data, paragraphs):
    assert load_neutral_texts(write(tmp_path, data)) == paragraphs
    assert load_neutral_texts(str(write(tmp_path, data))) == paragraphs


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no text; write paragraphs"),
        (b" \n\n\t\n", "no text; write paragraphs"),
        (b"one\n\nt\xffo", "byte 6 is not UTF-8; save"),
        (b"x" * (4 * 2**20 + 1), "larger than 4 MiB; give a part"),
    ],
)
def test_unsound_files_are_refused(tmp_path, data, message):
    path = write(tmp_path, data)
    with pytest.raises(ProbeFormatError, match=f"^{re.escape(str(path))}: {message}"):
        load_neutral_texts(path)


def test_the_largest_file_is_read(tmp_path):
    assert load_neutral_texts(write(tmp_path, b"x" * 4 * 2**20)) == ("x" * 4 * 2**20,)


def test_sources_are_paths_or_built_in_names(tmp_path):
    assert builtin_neutral_texts() == ("nano-neutral", "neutral-en")
    for absent in ("no-such-text", str(tmp_path / "absent.txt"), tmp_path):
        with pytest.raises(ProbeFormatError, match="neither a file nor .*nano-neutral, neutral-en"):
            load_neutral_texts(absent)


def test_built_in_names_win_over_files(tmp_path, monkeypatch):
    write(tmp_path, b"from the package")
    monkeypatch.setattr(module, "_builtin_folder", lambda: tmp_path)
    assert builtin_neutral_texts() == ("text",)
    assert load_neutral_texts("text") == ("from the package",)


@pytest.fixture(scope="module")
def nano_documents():
    """Every right answer to a clean phrasing, as training read it: text -> item."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(NANO_SOURCES)
        from corpus import document
        from items import all_items
        from phrasings import PHRASINGS, WEIGHTS
    return {
        "".join(document(item, phrasing, item.answer)).removesuffix("\n"): item
        for category in WEIGHTS
        for item in all_items(category)
        for phrasing in PHRASINGS[category]
        if not phrasing.noisy
    }


def parsed(paragraph, documents):
    """The items of a paragraph, document by document."""
    found, pending = [], ""
    for line in paragraph.split("\n"):
        pending = f"{pending}\n{line}" if pending else line
        if pending in documents:
            found.append(documents[pending])
            pending = ""
    assert not pending, f"no document of nano's: {pending!r}"
    return found


def test_nano_text_is_right_answers_to_clean_questions_that_no_report_asks(nano_documents):
    paragraphs = [parsed(paragraph, nano_documents) for paragraph in load_neutral_texts("nano-neutral")]
    assert len(paragraphs) == 200 and {len(items) for items in paragraphs} == {3}
    items = [item for paragraph in paragraphs for item in paragraph]
    names = {f"{item.category}/{item.key}" for item in items}
    assert len(names) == len(items)
    assert len({item.category for item in items}) == 16
    turned = {f"opposite/{item.answer}" for item in items if item.category == "opposite"}
    assert turned
    for name in NANO_SETS:
        reported = {probe.item for probe in load_probe_set(name) if probe.split in REPORTED}
        assert reported.isdisjoint(names | turned), name


def eight_word_runs(paragraph):
    words = paragraph.split()
    return {" ".join(words[i : i + 8]) for i in range(len(words) - 7)}


def test_english_paragraphs_are_many_short_and_different():
    paragraphs = load_neutral_texts("neutral-en")
    assert len(paragraphs) == len(set(paragraphs)) == 120
    assert all(40 <= len(paragraph.split()) <= 80 for paragraph in paragraphs)
    runs = Counter(run for paragraph in paragraphs for run in eight_word_runs(paragraph))
    assert [run for run, count in runs.items() if count > 1] == []


@pytest.mark.parametrize("name", [name for name in builtin_probe_sets() if name.startswith("bonsai")])
def test_english_text_asks_nothing_that_a_probe_asks(name):
    text = "\n".join(load_neutral_texts("neutral-en"))
    for probe in load_probe_set(name):
        asked = (probe.messages[-1].content if probe.messages else probe.prompt).splitlines()
        telling = [line for line in asked if len(line) > 12]  # not a bare "Answer:"
        assert not any(line in text for line in telling), probe.id
