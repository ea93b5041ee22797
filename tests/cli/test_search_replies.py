"""`bankai search` with a chat model's own replies as neutral text, by default."""

from pathlib import Path

import pytest

from bankai.jobs.replies import kept_replies, longest_replies
from bankai.jobs.search import Asked
from bankai.probes import ProbeSet
from bankai.search import RunFolder

FIRST = "the model's own replies to everyday requests are asked first, once"


@pytest.fixture
def plain_file(probe_file: Path) -> Path:
    """The same set without its chats."""
    path = probe_file.with_name("plain.jsonl")
    ProbeSet("plain", [probe for probe in ProbeSet.load(probe_file) if probe.prompt]).save(path)
    return path


@pytest.fixture
def search(run, tiny_gguf: Path):
    """`search(set, ...)`: what a short search was asked to read, and what it reported."""

    def call(probes: Path, *options: object):
        command = ("search", tiny_gguf, "--target", probes, "--budget", 12, "-o", "p.bankai", "--json")
        outcome = run(*command, *options)
        assert outcome.code in (0, 1), outcome.err  # it may find nothing
        return RunFolder.open(Path("p.run"), Asked)[1], outcome.document

    return call


@pytest.fixture
def plan(run, tiny_gguf: Path):
    """`plan(set, ...)`: the plan of that search."""

    def call(probes: Path, *options: object):
        return run(
            "search", tiny_gguf, "--target", probes, "-o", "p.bankai", "--plan", "--json", *options
        ).document

    return call


def reads(plan):
    """What a plan says of neutral text and of its size; there is some."""
    assert plan["texts"] > 0
    return plan["texts"], plan["tokens"], plan["padded_tokens"]


def test_a_search_for_chats_reports_the_drift_on_replies_that_it_does_not_read(
    search, tiny_gguf: Path, probe_file: Path, tmp_path: Path
) -> None:
    asked, result = search(probe_file)
    replies = kept_replies(tiny_gguf)
    assert replies is not None and asked.searched.texts == replies.split("control")
    assert asked.unread == replies.split("unseen") and not {*asked.unread} & {*asked.searched.texts}
    assert result["drift"] is not None
    (tmp_path / "text.txt").write_text("a b c d e f\n")
    assert search(probe_file, "--text", "text.txt")[0].searched.texts == (
        "a b c d e f",
        *replies.split("control"),
    )


def test_replies_that_are_given_stand_for_those_of_the_search(
    search, probe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    some = ProbeSet("some", [*longest_replies(6).probes[:3], *longest_replies(6).probes[-2:]])
    some.save(tmp_path / "some.jsonl")
    asked, result = search(probe_file, "--text", "some.jsonl")
    assert (asked.searched.texts, asked.unread) == (some.probes[:3], some.probes[3:])
    assert result["drift"] is not None and not (tmp_path / "cache").exists()


def test_nothing_is_asked_where_it_is_of_no_use(
    search, probe_file: Path, plain_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for options in ([probe_file, "--text", "none"], [probe_file, "--drift", 0], [plain_file]):
        asked, result = search(*options)
        assert (asked.searched.texts, asked.unread, result["drift"]) == ((), (), None)
    assert not (tmp_path / "cache").exists()


def test_a_plan_counts_replies_and_asks_for_none(
    plan, probe_file: Path, plain_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    planned = plan(probe_file)
    assert len([warning for warning in planned["warnings"] if warning.startswith(FIRST)]) == 1
    longest_replies().save(tmp_path / "longest.jsonl")
    assert reads(planned) == reads(plan(probe_file, "--text", "longest.jsonl"))
    for options in ([probe_file, "--text", "none"], [plain_file]):
        other = plan(*options)
        assert other["texts"] == 0 and not [text for text in other["warnings"] if text.startswith(FIRST)]
    assert not (tmp_path / "cache").exists()


def test_a_plan_takes_the_replies_that_are_kept(run, plan, tiny_gguf: Path, probe_file: Path) -> None:
    assert run("probes", "replies", "--model", tiny_gguf, "-o", "replies.jsonl").code == 0
    planned = plan(probe_file)
    assert reads(planned) == reads(plan(probe_file, "--text", "replies.jsonl"))
    assert not [warning for warning in planned["warnings"] if warning.startswith(FIRST)]


def test_what_is_refused_is_refused_before_anything_is_asked(
    refused, tiny_gguf: Path, probe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "no place" in refused("search", tiny_gguf, "--target", probe_file, "-o", "nowhere/p.bankai").err
    assert not (tmp_path / "cache").exists()
