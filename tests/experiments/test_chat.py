"""Experiments on chat models: what they tell of a result, and what they keep. They run on a real model only by hand."""

import json
from pathlib import Path

import pytest

from bankai.experiments import chat_changes
from bankai.experiments.chat import KINDS, Chat
from bankai.experiments.chat_changes import FLIPS, LORA, WAYS
from bankai.experiments.chat_places import VARIANTS
from bankai.experiments.context import NANO, Context, Search
from bankai.experiments.registry import CHAT, experiment
from bankai.experiments.verdicts import verdict
from bankai.probes import load_probe_set
from bankai.search import Finished, SearchProbes


def counts(failing: int, fixed: int, kinds: bool = True) -> dict:
    found = {"failing": failing, "solved": 0, "fixed": fixed, "broke": 0, "p": 0.5}
    return found | ({"kinds": {kind: counts(10, fixed % 10, kinds=False) for kind in KINDS}} if kinds else {})


def change(way: str, known: int, seed: int) -> dict:
    return {
        "bytes": 240 if way == FLIPS else 900_000,
        "known": counts(200, known + seed),
        "unknown": counts(200, 20),
        "known rephrased": counts(200, known // 2),
        "new kinds": counts(180, 30),
        "drift": 0.05,
        "length": 0.9,
        "formats": 20,
        "knowledge": {"asked": 375, "broke": 4 + seed},
        "seconds": 700.0,
    }


def elicitation(known: int) -> dict:
    seeds = [
        {"seed": seed, "found": {way: change(way, known if way == FLIPS else 110, seed) for way in WAYS}}
        for seed in range(3)
    ]
    return {"seeds": seeds, "items": 200, "formats": {"asked": 80, "right": 27}}


@pytest.mark.parametrize(("known", "told"), [(130, "replicates"), (40, "does not")])
def test_claims_follow_what_was_fixed(known: int, told: str) -> None:
    half, beside_lora, apart, knowledge, size = experiment("chat-elicitation").claims(elicitation(known))
    assert [verdict(one) for one in (half, beside_lora, apart)] == [told] * 3
    assert verdict(knowledge) == "replicates" and knowledge.value == pytest.approx(100 * 5 / 375)
    assert verdict(size) == "replicates"


def test_the_tables_have_every_way_and_every_kind() -> None:
    ways, kinds = experiment("chat-elicitation").tables(elicitation(130))
    assert [row[0] for row in ways.rows] == list(WAYS) and all(
        len(row) == len(ways.columns) for row in ways.rows
    )
    assert ways.rows[0][1] == "65.5 (65.0 to 66.0)" and "200 known" in ways.note and "27 of 80" in ways.note
    assert [row[0] for row in kinds.rows] == list(KINDS)
    assert len(experiment("chat-elicitation").plots(elicitation(130))) == 3


def test_the_number_of_targets_has_a_line_for_each_way() -> None:
    found = {
        str(items): {way: change(way, items // 2, 0) for way in (FLIPS, LORA)} for items in (6, 20, 60, 200)
    }
    result = {"seeds": [{"seed": 0, "found": found}, {"seed": 1, "found": found}]}
    (claim,) = experiment("chat-targets").claims(result)
    assert claim.value == pytest.approx(100 * (100 - 3) / 200)
    (table,) = experiment("chat-targets").tables(result)
    assert len(table.rows) == 8 and table.rows[0][0] == f"6, {FLIPS}"
    (plot,) = experiment("chat-targets").plots(result)
    assert [series.name for series in plot.series] == [FLIPS, LORA] and plot.series[0].x == [6, 20, 60, 200]


def test_places_stand_beside_lora_with_their_sizes() -> None:
    names = (FLIPS, LORA, *VARIANTS)
    found = {name: change(name, 100 if name == LORA else 95, 0) for name in names}
    result = {"seeds": [{"seed": 0, "found": found}, {"seed": 1, "found": found}]}
    (claim,) = experiment("chat-places").claims(result)
    assert claim.value == pytest.approx(0.95)
    (table,) = experiment("chat-places").tables(result)
    assert [row[0] for row in table.rows] == list(names) and {len(row) for row in table.rows} == {7}
    assert all(len(plot.series) == len(names) for plot in experiment("chat-places").plots(result))


@pytest.mark.parametrize(("right", "told"), [(121, "replicates"), (108, "does not")])
def test_engines_agree_when_their_shares_are_near(right: int, told: str) -> None:
    def shares(known: int) -> dict:
        return {name: {"probes": 200, "right": known} for name in ("known", "unknown")}

    seeds = [{"seed": seed, "found": {"torch": shares(120), "llama.cpp": shares(right)}} for seed in range(3)]
    result = {"base": shares(4), "seeds": seeds}
    (claim,) = experiment("chat-engine").claims(result)
    assert claim.value == pytest.approx((right - 120) / 2) and verdict(claim) == told
    (table,) = experiment("chat-engine").tables(result)
    assert [row[1] for row in table.rows] == ["2.0", "60.0", f"{right / 2:.1f}"]


def test_a_cell_is_made_once(tmp_path: Path) -> None:
    made = []

    def make() -> dict:
        made.append(1)
        return {"pair": (1, 2.5)}

    def context() -> Context:
        return Context(None, NANO, (0,), folder=tmp_path / "cells")

    assert context().cell("one", make) == context().cell("one", make) == {"pair": [1, 2.5]}
    assert len(made) == 1 and json.loads((tmp_path / "cells" / "one.json").read_text()) == {"pair": [1, 2.5]}
    with pytest.raises(ZeroDivisionError):
        context().cell("two", lambda: 1 / 0)
    assert [path.name for path in (tmp_path / "cells").iterdir()] == ["one.json"]
    assert Context(None, NANO, (0,)).cell("one", make) == {"pair": [1, 2.5]} or made == [1, 1]


def test_only_known_targets_are_learned_from_and_nothing_reported_is_read(tmp_path: Path) -> None:
    heldout = load_probe_set("smol-short")
    ways = ["reply", "no", "examples"]
    known = {one.item: ways[at % 3] for at, one in enumerate(heldout.probes) if one.category in KINDS}
    cells = tmp_path / "cells"
    cells.mkdir()
    (cells / "known.json").write_text(json.dumps(known))
    reply = {"id": "r", "item": "r", "category": "reply", "answers": ["Yes."], "prompt": "p"}
    replies = [reply | {"split": "control"}, reply | {"split": "unseen"}]
    (cells / "replies.json").write_text(json.dumps(replies))
    chat = Chat(Context(None, NANO, (0,), folder=cells))
    probes = chat.probes(40, seed=1)
    items = {probe.item for probe in probes.targets}
    assert (
        len(items) == 40
        and len(probes.targets) == 80
        and {known[item] for item in items}
        == {
            "reply",
            "examples",
        }
    )
    assert {probe.category for probe in probes.targets} == set(KINDS)
    assert [text.split for text in probes.texts] == ["control"]
    assert chat.probes(40, seed=2).targets != probes.targets
    reported = {name: {probe.item for probe in some} for name, some in chat.sets.items()}
    assert all(not items & some for some in reported.values())
    assert not reported["known"] & reported["unknown"] and reported["known"] == reported["known rephrased"]
    assert all(known[item] == "no" for item in reported["unknown"])


def test_every_chat_experiment_has_its_module() -> None:
    assert CHAT and all(callable(experiment(name).run) for name in CHAT)


def test_searches_from_fewer_targets_are_cells_of_their_own(tmp_path: Path, monkeypatch) -> None:
    """Else every number of targets would be measured on the flips of the first."""
    asked = []

    def search(self: Context, task, settings):
        asked.append(len(task.searched.targets))
        return Search(Finished((), 0.0, 1.0, 1.0, "budget spent"), ())

    monkeypatch.setattr(Context, "search", search)
    context = Context(None, NANO, (0,), folder=tmp_path / "cells")
    targets = load_probe_set("smol-short").split("target")
    for count in (6, 20, 6):
        chat_changes._flips(context, SearchProbes(targets[:count]), 0, FLIPS)
    assert asked == [6, 20]
