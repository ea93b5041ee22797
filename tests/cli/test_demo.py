"""The demo on the built-in model, with a small budget: what it prints and writes, not how well it does."""

from pathlib import Path

import pytest

from bankai.checkpoint.model_file import open_checkpoint
from bankai.patch import encode, payload_bytes, read_patch, state


@pytest.fixture
def document(run):
    """One short demo's JSON."""
    outcome = run("demo", "--budget", 12, "--json")
    assert outcome.code == 0 and "guided:" in outcome.err and "greedy:" in outcome.err
    return outcome.document


def test_demo_reports_what_it_wrote(document) -> None:
    patch = read_patch(document["patch"])
    assert document["patch"] == "demo.bankai" and document["flips"] == len(patch)
    assert document["payload_bytes"] == payload_bytes(patch)
    assert document["file_bytes"] == Path("demo.bankai").stat().st_size
    assert document["bare_bytes"] == len(encode(patch, manifest=False)) <= 300
    with open_checkpoint("nano") as checkpoint:
        assert state(checkpoint, patch) == "base"

    assert document["evaluations"] <= 12 and document["evaluations_greedy"] <= 12
    assert set(document["fitness"]) == {"guided", "greedy"}
    for part, probes in (("heldout", 300), ("limited", 1), ("control", 300)):
        counted = document[part]
        assert counted["probes"] >= probes
        assert counted["patched"]["solved"] - counted["base"]["solved"] == counted["fixed"] - counted["broke"]
        assert sum(row["probes"] for row in counted["categories"].values()) == counted["probes"]
    largest = max(row["probes"] for row in document["heldout"]["categories"].values())
    assert largest <= 0.4 * document["heldout"]["probes"]
    assert {example["prompt"] for example in document["examples"]}


def test_demo_for_people(run) -> None:
    text = run("demo", "--budget", 12, "-o", "other.bankai", "--seed", 1).out
    assert "Held-out probes" in text and "capability-limited" in text and "Unseen controls" in text
    assert "other.bankai" in text and "seed 1" in text and Path("other.bankai").exists()


def test_demo_that_finds_nothing_writes_nothing(run) -> None:
    """One evaluation is less than one try."""
    outcome = run("demo", "--budget", 1, "-o", "none.bankai")
    assert (outcome.code, outcome.out) == (1, "") and not Path("none.bankai").exists()
    assert outcome.err.splitlines()[-1].startswith("no patch found; ")


def test_the_demo_on_a_chat_model(run, tiny_gguf: Path) -> None:
    """On one that knows nothing: what it reports, not how well it does."""
    outcome = run("demo", "--model", tiny_gguf, "--budget", 40, "-o", "chat.bankai", "--json")
    assert outcome.code == 0 and "relaxed:" in outcome.err
    document = outcome.document
    patch = read_patch("chat.bankai")
    assert document["patch"] == "chat.bankai" and 0 < document["flips"] == len(patch) <= 200
    assert document["bare_bytes"] == len(encode(patch, manifest=False))
    assert (
        document["heldout"]["probes"] > 200 and document["unknown"]["probes"] > 100 and document["drift"] > 0
    )
    assert len(document["examples"]) == len(document["heldout"]["categories"])
    text = run("demo", "--model", tiny_gguf, "--budget", 40, "-o", "again.bankai").out
    assert "does not know" in text and "again.bankai" in text and "drift on everyday replies" in text
    assert read_patch("again.bankai").flips == patch.flips
