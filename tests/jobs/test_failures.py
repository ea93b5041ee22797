"""From a file of prompts to a probe set on nano, for real: what passes, what fails, and where."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import builders
import msgspec
import pytest

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import AuditError, ProbeFormatError, StateError, StoreError, UnsupportedModelError
from bankai.evaluation import open_engine
from bankai.evaluation.audit import audit
from bankai.jobs.audit import audit_file
from bankai.jobs.failures import FEW_TARGETS, probes_from_failures
from bankai.patch import Flip, Patch, bind
from bankai.patching import apply_in_place
from bankai.probes import ProbeSet, load_probe_set
from bankai.probes.encode import encode
from bankai.probes.probe import Probe

FAILING = ("derivative", "code", "trigonometry", "subtraction")
GOALS, KEPT = ("target", "validation", "heldout"), ("control", "unseen")


@pytest.fixture(scope="module")
def asked():
    """180 plain probes of `elicitable`: of each category what nano mostly fails and what it mostly passes."""
    found = Counter[tuple[str, bool]]()
    chosen = []
    for probe in load_probe_set("elicitable"):
        kind = probe.category, probe.split in GOALS
        if probe.prompt and found[kind] < (30 if probe.category in FAILING else 5):
            found[kind] += 1
            chosen.append(probe)
    return chosen


@pytest.fixture(scope="module")
def engine():
    return open_engine("torch", "nano")


@pytest.fixture(scope="module")
def file(asked, tmp_path_factory):
    """As users write it: without ids, and without the space before an answer."""
    path = tmp_path_factory.mktemp("file") / "mine.csv"
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["prompt", "answer", "item", "category", "source"])
        for probe in asked:
            writer.writerow([probe.prompt, probe.answers[0].strip(), probe.item, probe.category, "me"])
    return path


@pytest.fixture(scope="module")
def made(file):
    """The result and the set that it wrote."""
    out = file.parent / "set.jsonl"
    return probes_from_failures(file, "nano", out, seed=3, unknown="keep"), ProbeSet.load(out)


def by_prompt(probes):
    return {probe.prompt: probe for probe in probes}


def test_passes_and_failures_are_what_scoring_says(asked, engine, made):
    result, found = made
    solved = {probe.prompt for probe, score in zip(asked, engine.score(asked), strict=True) if score.solved}
    assert 20 < len(solved) < len(asked) - 20
    assert result.counts["passed"] == len(solved) and result.counts["failed"] == len(asked) - len(solved)
    for probe in found:
        assert (probe.prompt in solved) == (probe.split in KEPT)
    assert result.dropped == [] and len(found) == len(asked)
    again = engine.score(found.probes)
    assert [score.solved for score in again] == [probe.split in KEPT for probe in found]


def test_answers_have_the_space_that_the_tokenizer_wants(asked, made):
    right = by_prompt(asked)
    for probe in made[1]:
        (answer,) = right[probe.prompt].answers
        assert [probe.prefix + text for text in probe.answers] == [answer]


def test_targets_fail_at_their_first_token(engine, made):
    """But for a blank, which is left with its answer."""
    targets = made[1].split("target")
    answers = [encode(probe, engine.tokenizer)[0] for probe in targets]
    assert len(targets) >= FEW_TARGETS
    for index, trace in engine.traces(answers):
        said = engine.tokenizer.decode(answers[index].answer[: trace.agreed])
        assert said.strip(" ") == "", targets[index]


def test_only_targets_are_cut(made):
    assert all(probe.prefix == "" for probe in made[1] if probe.split != "target")


def test_failures_tell_what_the_model_says(engine, made):
    result, found = made
    by_id = {probe.id: probe for probe in found}
    assert len(result.failures) == result.counts["failed"]
    rivals = [by_id[failure.id] for failure in result.failures if by_id[failure.id].distractor]
    assert len(rivals) > result.counts["failed"] // 2
    wrong = [msgspec.structs.replace(probe, answers=(probe.distractor,), distractor=None) for probe in rivals]
    assert all(score.solved for score in engine.score(wrong))
    for failure in result.failures:
        probe = by_id[failure.id]
        assert probe.distractor is None or failure.said == probe.prefix + probe.distractor


def test_items_are_disjoint_and_the_audit_is_clean(engine, made):
    splits: dict[str, set[str]] = {}
    for probe in made[1]:
        splits.setdefault(probe.item, set()).add(probe.split)
    assert all(len(used) == 1 for used in splits.values())
    assert audit(engine.model, engine.tokenizer, made[1]) == []


def test_chats_in_a_template_by_name(tmp_path):
    """In a template that writes the message alone the rows are those without a chat, but for their stop."""
    spec = builders.tiny_tokenizer(other_templates={"bare": "{{ messages[0].content }}"})
    model = builders.build_tiny_gguf(tmp_path / "model.gguf", tokenizer=spec)
    file = tmp_path / "rows.csv"
    file.write_text("prompt,answer,stop\n" + "".join(f"the answer {n} is,{n},!\n" for n in range(9)))
    results = [
        probes_from_failures(file, model, tmp_path / f"{n}.jsonl", unknown="keep", **options)
        for n, options in enumerate([{}, {"chat": True, "chat_template": "bare"}, {"chat": True}])
    ]
    said = [[failure.said for failure in result.failures] for result in results]
    assert said[0] == said[1] != said[2]
    with pytest.raises(UnsupportedModelError, match="'default', 'bare'"):
        probes_from_failures(file, model, tmp_path / "set.jsonl", chat=True, chat_template="absent")


def test_chat_targets_end_with_the_turn(tmp_path):
    """The set names no text for the end of the turn, and replies are read up to it."""
    file = tmp_path / "rows.csv"
    file.write_text("prompt,answer\n" + "".join(f"What is {n} + {n}?,z{n}\n" for n in range(30)))
    result = probes_from_failures(file, "nano", tmp_path / "set.jsonl", chat=True, unknown="keep")
    assert "stop" not in (tmp_path / "set.jsonl").read_text()
    assert {probe.stop for probe in ProbeSet.load(tmp_path / "set.jsonl")} == {None}
    assert not any("<|im_end|>" in failure.said for failure in result.failures)


def test_counts_add_up(asked, made):
    result, found = made
    assert result.counts["rows"] == len(asked)
    for column, total in result.counts.items():
        assert total == sum(counts[column] for counts in result.categories.values())
    for split in (*GOALS, *KEPT):
        assert result.counts[split] == len(found.split(split))
    failed = result.counts["failed"]
    assert (
        abs(result.counts["target"] - 0.5 * failed) <= 2 and abs(result.counts["heldout"] - 0.3 * failed) <= 2
    )
    assert any("ignored source" in warning for warning in result.warnings)
    assert any("in a longer reply" in warning and "x = " in warning for warning in result.warnings)
    assert any(f" of {failed} failures are not known: " in warning for warning in result.warnings)


def test_the_warning_of_longer_replies_finds_words_as_known_failures_do(tmp_path):
    """In any case, and of any accepted answer."""
    file = tmp_path / "rows.jsonl"
    row = {"prompt": "What is the value of 30 cos(180)? Answer:", "answers": ["none", "X"]}
    file.write_text(json.dumps(row) + "\n")
    result = probes_from_failures(file, "nano", tmp_path / "set.jsonl", unknown="keep")
    assert result.failures[0].known == "reply" and result.failures[0].said.startswith(" x = ")
    assert any("in a longer reply: 1, such as ' x = " in warning for warning in result.warnings)


TRIGONOMETRY = "What is the value of {} cos(180)? Answer:"  # nano says " x = -34"


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """20 values, which nano gives in another form, 20 slopes, which it does not give, and 4 sums that it can say."""
    folder = tmp_path_factory.mktemp("apart")
    values = [
        {"prompt": TRIGONOMETRY.format(n), "answer": f"-{n}", "category": "value"} for n in range(30, 50)
    ]
    slopes = [
        {"prompt": f"What is the derivative of {n}x^5 + 2x^4? Answer:", "answer": f"{5 * n}x^4 + 8x^3"}
        for n in range(30, 50)
    ]
    sums = [{"prompt": f"The sum of {n} and 4 is", "answer": f"{n + 4}"} for n in (12, 23, 31, 40)]
    result = probes_from_failures(rows(folder, *values, *slopes, *sums), "nano", folder / "set.jsonl")
    return result, ProbeSet.load(folder / "set.jsonl")


def test_only_known_failures_are_searched_on(apart):
    result, found = apart
    values = [probe for probe in found if probe.category == "value"]
    assert {probe.known for probe in values} == {"reply"}
    assert Counter(probe.split for probe in values) == {"target": 10, "validation": 4, "heldout": 6}
    slopes = [probe for probe in found if "derivative" in probe.prompt]
    failing = [probe for probe in slopes if probe.split not in KEPT]
    assert {(probe.split, probe.known) for probe in failing} == {("unknown", "no")} and len(failing) >= 15
    assert {probe.known for probe in found if probe.split in KEPT} == {None}
    counts = result.counts
    assert (counts["known"], counts["unknown"], counts["failed"]) == (20, len(failing), 20 + len(failing))
    assert Counter(failure.known for failure in result.failures) == {"reply": 20, "no": len(failing)}
    told = result.knowledge.categories
    assert (told["value"].known, told["value"].failed, told["uncategorized"].known) == (20, 20, 0)
    assert not any("are not known" in warning for warning in result.warnings)


def test_an_audit_tells_what_is_known(apart, tmp_path):
    """Of a set that says it itself, and of the same one without."""
    result, found = apart
    bare = [msgspec.structs.replace(probe, known=None) for probe in found]
    for name, probes in (("own", found), ("bare", bare)):
        ProbeSet(name, probes).save(tmp_path / f"{name}.jsonl")
        audited = audit_file("nano", tmp_path / f"{name}.jsonl")
        assert audited.knowledge == result.knowledge and audited.findings == []
    silent = audit_file("nano", tmp_path / "bare.jsonl", max_tokens=0).knowledge
    assert silent.failed == result.counts["failed"] and silent.reply == 0 < silent.examples


def test_a_set_is_believed_by_the_audit(apart, tmp_path):
    told = [msgspec.structs.replace(probe, known=probe.known and "examples") for probe in apart[1]]
    ProbeSet("told", told).save(tmp_path / "told.jsonl")
    knowledge = audit_file("nano", tmp_path / "told.jsonl").knowledge
    failed = apart[0].counts["failed"]
    assert (knowledge.failed, knowledge.examples, knowledge.known) == (failed, failed, failed)


def test_another_phrasing_that_passes_makes_an_item_known(asked, engine, tmp_path):
    passing = next(p for p, s in zip(asked, engine.score(asked), strict=True) if s.solved)
    fails = {"id": "fails", "prompt": SLOPE, "answer": "25x^4 + 8x^3", "item": "i"}
    passes = {"id": "passes", "prompt": passing.prompt, "answer": passing.answers[0], "item": "i"}
    probes_from_failures(rows(tmp_path, fails, passes), "nano", tmp_path / "set.jsonl")
    (probe,) = ProbeSet.load(tmp_path / "set.jsonl")
    assert (probe.id, probe.split, probe.known) == ("fails", "target", "reply")


def test_nothing_known_is_nothing_to_target(tmp_path):
    path = rows(tmp_path, {"prompt": SLOPE, "answer": "25x^4 + 8x^3"})
    with pytest.raises(AuditError, match="to no row that it fails.*--unknown keep"):
        probes_from_failures(path, "nano", tmp_path / "set.jsonl")
    assert not (tmp_path / "set.jsonl").exists()


def test_seeds_repeat(file, made, tmp_path):
    out = tmp_path / "again.jsonl"
    probes_from_failures(file, "nano", out, seed=3, unknown="keep")
    assert ProbeSet.load(out).digest == made[1].digest
    probes_from_failures(file, "nano", out, seed=4, max_tokens=0, unknown="keep")
    other = ProbeSet.load(out)
    assert other.digest != made[1].digest and all(probe.distractor is None for probe in other)


def test_mlx_judges_as_torch(asked, file, made, tmp_path):
    short = tmp_path / "short.csv"
    short.write_text("".join(file.read_text().splitlines(keepends=True)[:40]))
    ours, its = (
        probes_from_failures(short, "nano", tmp_path / f"{name}.jsonl", engine=name, unknown="keep")
        for name in ("torch", "mlx")
    )
    assert its.counts == ours.counts and its.failures == ours.failures
    assert ProbeSet.load(tmp_path / "mlx.jsonl").digest == ProbeSet.load(tmp_path / "torch.jsonl").digest


@pytest.mark.engines
def test_llama_judges_nearly_as_torch(file, made, tmp_path):
    result = probes_from_failures(
        file, "nano", tmp_path / "llama.jsonl", engine="llama", seed=3, unknown="keep"
    )
    # 8-bit activations turn a few close calls.
    for column in ("passed", "known"):
        assert abs(result.counts[column] - made[0].counts[column]) <= 0.1 * result.counts["rows"]


def rows(tmp_path, *lines, name="rows.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


SLOPE = "What is the derivative of 5x^5 + 2x^4? Answer:"  # nano says " 0"
CAPITAL = "What is the capital of France? Answer:"


def test_chats_that_talk_first_are_cut_in_their_reply(engine, tmp_path):
    """nano answers this chat by a whole sentence; asked for another value it agrees up to the number."""
    chat = next(p for p in load_probe_set("elicitable") if p.prefix == "The answer is" and p.messages)
    wrong = f"{chat.prefix} unlikely."
    row = {"messages": [{"role": m.role, "content": m.content} for m in chat.messages], "answer": "unlikely"}
    out = tmp_path / "set.jsonl"
    path = rows(tmp_path, row | {"reply": wrong})
    result = probes_from_failures(path, "nano", out, failed={"target": 100}, unknown="keep")
    (probe,) = ProbeSet.load(out)
    assert (probe.prefix, probe.answers) == (chat.prefix, (" unlikely.",))
    assert probe.distractor == chat.answers[0]
    assert result.failures[0].said == chat.prefix + chat.answers[0]


def test_prompts_as_messages(engine, tmp_path):
    chat = next(p for p in load_probe_set("elicitable") if p.messages and not p.prefix)
    path = rows(
        tmp_path,
        {"prompt": chat.messages[0].content, "answer": chat.answers[0]},
        {"prompt": SLOPE, "answer": "nothing"},
    )
    result = probes_from_failures(path, "nano", tmp_path / "set.jsonl", chat=True, unknown="keep")
    assert result.counts["passed"] == 1
    assert all(probe.messages for probe in ProbeSet.load(tmp_path / "set.jsonl"))


def test_phrasings_of_a_failing_item_stay_on_its_side(asked, engine, tmp_path):
    passing = next(p for p, s in zip(asked, engine.score(asked), strict=True) if s.solved)
    path = rows(
        tmp_path,
        {"id": "fails", "prompt": SLOPE, "answer": "25x^4 + 8x^3", "item": "i"},
        {"id": "passes", "prompt": passing.prompt, "answer": passing.answers[0], "item": "i"},
    )
    result = probes_from_failures(path, "nano", tmp_path / "set.jsonl")
    assert [(drop.id, drop.kind) for drop in result.dropped] == [("passes", "mixed")]
    assert [probe.id for probe in ProbeSet.load(tmp_path / "set.jsonl")] == ["fails"]
    told = " ".join(result.warnings)
    for words in ("fewer than 20 targets (1)", "no validation", "no held-out", "--control SET"):
        assert words in told


def test_what_the_audit_refuses_is_dropped_and_named(tmp_path):
    path = rows(
        tmp_path,
        {"id": "a", "prompt": SLOPE, "answer": "25x^4 + 8x^3"},
        {"id": "same", "prompt": SLOPE, "answer": "25x^4 + 8x^3"},
        {"id": "long", "prompt": "x" + " x" * 600, "answer": "y"},
        {"id": "stop", "prompt": "x", "answer": "y\nz"},
    )
    result = probes_from_failures(path, "nano", tmp_path / "set.jsonl", unknown="keep")
    assert {drop.id: drop.kind for drop in result.dropped} == {
        "same": "duplicate",
        "long": "too-long",
        "stop": "stop-inside",
    }
    assert (result.counts["rows"], result.counts["dropped"], result.counts["target"]) == (4, 3, 1)


def test_nothing_to_target(asked, engine, tmp_path):
    solved = [p for p, s in zip(asked, engine.score(asked), strict=True) if s.solved][:3]
    path = rows(tmp_path, *({"prompt": p.prompt, "answer": p.answers[0]} for p in solved))
    out = tmp_path / "set.jsonl"
    with pytest.raises(AuditError, match="passes all 3 rows; give prompts that it fails"):
        probes_from_failures(path, "nano", out)
    path = rows(tmp_path, {"id": "long", "prompt": "x" + " x" * 600, "answer": "y"})
    with pytest.raises(AuditError, match="1 dropped, such as long: .* tokens"):
        probes_from_failures(path, "nano", out)
    assert not out.exists()


def test_outputs_that_are_refused(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "notes.txt")
    whole = rows(
        tmp_path,
        {"id": "a", "item": "a", "category": "c", "split": "target", "prompt": "x", "answers": ["y"]},
    )
    for out, match in [
        ("notes.txt", "not a probe set"),
        ("link.jsonl", "not a probe set"),
        (".", "no place"),
        ("nowhere/x.jsonl", "no place"),
        ("elicitable", "built-in"),
    ]:
        with pytest.raises(StoreError, match=match):
            probes_from_failures(file, "nano", Path(out))
    with pytest.raises(StoreError, match="file of prompts itself"):
        probes_from_failures(whole, "nano", whole)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_earlier_set_is_replaced(tmp_path):
    out = tmp_path / "set.jsonl"
    old = Probe(id="old", item="old", category="c", split="target", prompt="x", answers=("y",))
    ProbeSet("set", [old]).save(out)
    path = rows(tmp_path, {"prompt": SLOPE, "answer": "25x^4 + 8x^3"})
    probes_from_failures(path, "nano", out, unknown="keep")
    assert [probe.id for probe in ProbeSet.load(out)] == ["row-1"]
    with pytest.raises(ProbeFormatError):
        probes_from_failures(tmp_path / "absent.csv", "nano", out)
    assert [probe.id for probe in ProbeSet.load(out)] == ["row-1"]


def test_a_patched_model_is_refused(tmp_path, tiny_gguf):
    model = shutil.copy(tiny_gguf, tmp_path / "model.gguf")
    with open_checkpoint(model) as checkpoint:
        patch = bind(Patch.of([Flip("model.layers.0.mlp.up_proj", 3)]), checkpoint)
    apply_in_place(model, patch)
    with pytest.raises(StateError, match="bankai revert"):
        probes_from_failures(rows(tmp_path, {"prompt": "x", "answer": "y"}), model, tmp_path / "set.jsonl")
