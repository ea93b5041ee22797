"""Probes judged by what nano writes: greedy replies, replies that are drawn, and both kinds of probes together."""

import msgspec
import pytest

from bankai.errors import ProbeFormatError
from bankai.evaluation import open_engine
from bankai.evaluation.engine import Reply
from bankai.evaluation.grading import draw_right, graded_by, results, up_to_stop, write
from bankai.jobs.rows import read_rows, with_splits
from bankai.probes import Probe, load_probe_set
from bankai.probes.graders import Contains, Length, Not, Regex


@pytest.fixture(scope="module")
def engine():
    return open_engine("torch", "nano")


@pytest.fixture(scope="module")
def probes():
    return [probe for probe in load_probe_set("elicitable") if probe.prompt][:24]


def graded(probe, grade, **changes):
    return msgspec.structs.replace(probe, grade=grade, **changes)


def unanswered(name, probes, grade):
    """The same prompts, where only the grader knows what is right."""
    return [
        graded(one, grade, answers=(), distractor=None, split="heldout", id=f"{name}{i}", item=f"{name}{i}")
        for i, one in enumerate(probes)
    ]


def test_without_a_grader_writing_agrees_with_scoring(engine, probes):
    scores = engine.score(probes)
    written = write(engine, probes)
    assert [one.solved for one in written] == [one.solved for one in scores]
    assert 0 < sum(one.solved for one in written) < len(probes)


def test_each_probe_is_judged_in_its_own_way_and_place(engine, probes):
    right = [graded(probe, Regex((r".",))) for probe in probes[::2]]
    wrong = [graded(probe, Not(Regex((r".",)))) for probe in probes[::2]]
    plain = probes[1::2]
    mixed = [one for three in zip(right, plain, wrong, strict=True) for one in three]
    found = [result.solved for result in results(engine, mixed)]
    assert found[::3] == [True] * len(right) and found[2::3] == [False] * len(wrong)
    assert found[1::3] == [score.solved for score in engine.score(plain)]


def test_a_reply_is_read_up_to_the_stop_and_no_longer(engine, probes):
    (one,) = write(engine, probes[:1])
    assert "\n" not in one.text and one.whole
    (cut,) = write(engine, [msgspec.structs.replace(probes[0], stop="@@@")], max_tokens=2)
    assert not cut.whole


def test_up_to_stop():
    probe = Probe(id="a", item="a", category="c", split="target", prompt="p", answers=("x",), stop="\n")
    assert up_to_stop(Reply("a\nb", False), probe) == Reply("a", True)
    assert up_to_stop(Reply("ab", False), probe) == Reply("ab", False)
    assert up_to_stop(Reply("ab", True), probe) == Reply("ab", True)


def test_drawn_replies_are_accepted_ones_and_the_same_for_a_seed(engine, probes):
    asked = [graded(probe, Length(1, 6, "characters")) for probe in probes[:6]]
    found = draw_right(engine, asked, 6, seed=1)
    assert found == draw_right(engine, asked, 6, seed=1)
    assert len(found) > 2
    for probe in asked:
        assert probe.id not in found or probe.grade.accepts(found[probe.id])
    assert draw_right(engine, [graded(probe, Contains(("zzzz",))) for probe in probes[:3]], 3) == {}


def test_a_grader_for_all(probes):
    found = list(graded_by("contains", probes))
    assert [one.grade for one in found] == [Contains(probe.answers) for probe in probes]
    assert list(graded_by(None, probes)) == probes
    worded = msgspec.structs.replace(probes[0], answers=("many",))
    with pytest.raises(ProbeFormatError, match="holds no number"):
        list(graded_by("number", [worded]))


def test_rows_with_graders_get_replies_to_learn_from(engine, probes):
    """A pass is kept by its own reply; a failure learns from a drawn one; one without any has no place in a search."""
    refused = "^(0|unknown|not sure|# TODO)"
    passing = unanswered("p", probes[:4], Regex((".",)))
    failing = unanswered("f", probes[4:20], Not(Regex((refused,))))
    never = unanswered("n", probes[20:24], Contains(("zzz",)))
    rows = read_rows(engine, [*passing, *failing, *never])
    assert rows.dropped == () and len(rows.judged) == len(passing) + len(failing) + len(never)
    by_id = {case.probe.id: case for case in rows.judged}
    said = {probe.id: one.text for probe, one in zip(passing, write(engine, passing), strict=True)}
    assert all(
        by_id[probe.id].solved and by_id[probe.id].probe.answers == (said[probe.id],) for probe in passing
    )
    assert {rows.known[probe.id] for probe in never} == {"no"}
    wrong = [probe for probe in failing if not by_id[probe.id].solved]
    learnt = [probe for probe in wrong if rows.known[probe.id] == "samples"]
    assert learnt and all(probe.grade.accepts(by_id[probe.id].probe.answers[0]) for probe in learnt)
    made, dropped = with_splits(
        engine, rows, ["target" if not case.solved else "control" for case in rows.judged]
    )
    assert {one.kind for one in dropped} == {"no-reply"}
    assert {probe.id for probe in never} <= {one.id for one in dropped}
    assert all(probe.answers for probe in made)
    kept, _ = with_splits(engine, rows, ["heldout" if not case.solved else "unseen" for case in rows.judged])
    assert {probe.id for probe in never} <= {probe.id for probe in kept}
