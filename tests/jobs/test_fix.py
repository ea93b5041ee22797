"""A fix on nano, for real: what is read, searched, measured and told; and that it goes on after any stop."""

import csv
import itertools
import re

import msgspec
import pytest

from bankai.errors import AuditError, ProbeFormatError, StateError, StoreError
from bankai.jobs.fix import Fix, FixAsked
from bankai.jobs.fix.measuring import Measured
from bankai.jobs.fix.reading import HALVES, PATCH
from bankai.jobs.search import SearchResult
from bankai.patch import Flip, Patch, bind, read_patch
from bankai.patching import apply_in_place
from bankai.probes import load_probe_set
from bankai.probes.probe import REPORTED

KNOWN = "trigonometry"  # of these nano names the value in a longer reply
NEVER = "subtraction"


def write_table(path, known, passing):
    """Rows of elicitable, under names that other people use."""
    probes = [probe for probe in load_probe_set("elicitable") if probe.prompt]
    failing = [
        probe for probe in probes if probe.category == KNOWN and probe.split not in ("control", "unseen")
    ]
    right = [probe for probe in probes if probe.split in ("control", "unseen")]
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["question", "expected", "category", "note"])
        for probe in [*failing[:known], *right[:passing]]:
            writer.writerow([probe.prompt, probe.answers[0].strip(), probe.category, "x"])
    return path


def asked(folder, table, **changes):
    return FixAsked(
        **{
            "model": "nano",
            "table": str(table),
            "output": str(folder / "mine.bankai"),
            "report": str(folder / "mine.html"),
            "chat": False,
            "budget": 24.0,
        }
        | changes
    )


def finished(fix):
    reading = fix.read()
    for name in reading.searches:
        fix.search(reading, name)
    return reading, fix.finish(reading)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A fix of a table with rows to keep unseen: its folder, reading and outcome."""
    folder = tmp_path_factory.mktemp("large")
    fix = Fix.start(asked(folder, write_table(folder / "rows.csv", 110, 20)), folder / "mine.fix")
    return fix, *finished(fix)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    fix = Fix.start(asked(folder, write_table(folder / "rows.csv", 36, 12)), folder / "mine.fix")
    return fix, *finished(fix)


def splits(probes):
    found = {}
    for probe in probes:
        found.setdefault(probe.split, set()).add(probe.item)
    return found


def test_a_large_table_keeps_rows_unseen(large):
    _, reading, outcome = large
    assert list(reading.searches) == [PATCH] and not outcome.crossed
    found = splits(reading.searches[PATCH])
    assert len(found["target"]) >= 36 and len(found["heldout"]) >= 24 and found["control"] and found["unseen"]
    assert all(not one & other for one, other in itertools.combinations(found.values(), 2))
    assert outcome.failing.probes == len(found["heldout"]) and outcome.failing.base.solved == 0
    assert outcome.passing.base.solved == outcome.passing.probes == len(found["unseen"])


def test_of_a_small_table_every_row_is_unseen_once(small):
    _, reading, outcome = small
    assert list(reading.searches) == [PATCH, *HALVES] and outcome.crossed
    whole, first, second = (splits(reading.searches[name]) for name in reading.searches)
    assert first["heldout"] == second["target"] and first["target"] == second["heldout"]
    assert first["unseen"] == second["control"] and first["control"] == second["unseen"]
    assert whole["target"] == first["target"] | second["target"] and "heldout" not in whole
    assert outcome.failing.probes == len(whole["target"])
    assert outcome.passing.probes == len(whole["control"])
    assert outcome.unknown.probes == len(whole.get("unknown", ()))


def test_what_is_measured_is_what_the_model_writes(large):
    """Again with the patch file alone, by the probes' scores."""
    from bankai.jobs.workbench import Workbench

    fix, reading, outcome = large
    bench = Workbench("nano")
    heldout = [probe for probe in reading.searches[PATCH] if probe.split == "heldout"]
    assert bench.compare(read_patch(outcome.patch), heldout).fixed == outcome.failing.fixed > 0
    rows = fix.folder.kept("measured", Measured).rows
    assert all(row.was_right == (row.before == row.expected) for row in rows)
    assert all(row.is_right == (row.after == row.expected) for row in rows)


def test_the_report_tells_the_verdict_and_every_row(large):
    fix, _, outcome = large
    page = (fix.folder.path.parent / "mine.html").read_text()
    assert outcome.verdict.kind.capitalize() in page and outcome.verdict.text.split(" (")[0] in page
    assert f"{outcome.failing.fixed} of {outcome.failing.probes}" in page
    rows = fix.folder.kept("measured", Measured).rows
    assert len(re.findall("<tr><td>", page)) >= len(rows)
    assert "<script" not in page and not re.search(r'(src|href)="?http', page)


def test_the_report_escapes_what_a_table_says(tmp_path):
    table = write_table(tmp_path / "rows.csv", 30, 4)
    text = table.read_text()
    table.write_text(text.replace(KNOWN, "<script>alert(1)</script>"))
    fix = Fix.start(asked(tmp_path, table, budget=12.0), tmp_path / "mine.fix")
    finished(fix)
    page = (tmp_path / "mine.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page


def test_it_goes_on_after_every_step_and_ends_the_same(small, tmp_path):
    """Each step in a fix of its own, as after a kill."""
    done, reading, outcome = small
    table = write_table(tmp_path / "rows.csv", 36, 12)
    folder = tmp_path / "mine.fix"
    assert Fix.start(asked(tmp_path, table), folder).read() == reading
    for left in range(3, 0, -1):
        fix = Fix.resume(folder)
        again = fix.read()
        assert again == reading and len(fix.left(again)) == left
        fix.search(again, fix.left(again)[0])
    assert fix.left(again) == []
    ended = Fix.resume(folder).finish(reading)
    same = {"seconds", "patch", "report"}
    assert {name: getattr(ended, name) for name in ended.__struct_fields__ if name not in same} == {
        name: getattr(outcome, name) for name in outcome.__struct_fields__ if name not in same
    }
    assert (tmp_path / "mine.bankai").read_bytes() == (done.folder.path.parent / "mine.bankai").read_bytes()


def test_a_stop_within_a_search_goes_on_from_its_last_round(small, tmp_path):
    _, _, outcome = small
    table = write_table(tmp_path / "rows.csv", 36, 12)
    fix = Fix.start(asked(tmp_path, table), tmp_path / "mine.fix")
    reading = fix.read()
    told = []

    def stop(label, settings, event):
        told.append(event)
        if len(told) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fix.search(reading, PATCH, stop)
    again = Fix.resume(tmp_path / "mine.fix")
    assert again.left(reading)[0] == PATCH
    assert again.search(reading, PATCH).flips == outcome.flips


def test_an_end_before_the_searches_is_refused(tmp_path):
    fix = Fix.start(asked(tmp_path, write_table(tmp_path / "rows.csv", 20, 4)), tmp_path / "mine.fix")
    with pytest.raises(AuditError, match="the search patch has not been done yet"):
        fix.finish(fix.read())


def test_nothing_to_fix_is_no_search(tmp_path):
    passing = Fix.start(asked(tmp_path, write_table(tmp_path / "rows.csv", 0, 10)), tmp_path / "a.fix").read()
    assert (passing.passed, passing.knowledge.failed, passing.searches) == (10, 0, {})
    table = tmp_path / "unknown.csv"
    table.write_text("prompt,answer\n" + "".join(f"Say {n} in words.,xq{n}\n" for n in range(8)))
    unknown = Fix.start(asked(tmp_path, table), tmp_path / "b.fix").read()
    assert (unknown.knowledge.failed, unknown.knowledge.known, unknown.searches) == (8, 0, {})
    kept = Fix.start(asked(tmp_path, table, keep_unknown=True), tmp_path / "c.fix").read()
    assert [*kept.searches] == [PATCH, *HALVES]


def test_rows_that_only_a_grader_decides_go_all_the_way(tmp_path):
    """Some have no reply to learn from: they are reported on, and searched on by none."""
    table = tmp_path / "rows.csv"
    prompts = [
        one.prompt for one in load_probe_set("elicitable") if one.prompt and one.category == "derivative"
    ]
    lines = [f'"{prompt}",d,"not regex:^(0|unknown|not sure)"' for prompt in prompts[:24]]
    lines += [f'"{prompt}",n,regex:zzz' for prompt in prompts[24:30]]
    table.write_text("\n".join(["prompt,category,grade", *lines]))
    fix = Fix.start(asked(tmp_path, table, budget=12.0), tmp_path / "a.fix")
    reading, outcome = finished(fix)
    never = {one.id for one in reading.searches[PATCH] if one.category == "n"}
    assert len(never) == 6 and all(
        one.split == "unknown" for one in reading.searches[PATCH] if one.id in never
    )
    assert outcome.unknown.probes >= 6 and outcome.failing.probes > 4


def test_one_known_row_is_not_halved(tmp_path):
    reading = Fix.start(asked(tmp_path, write_table(tmp_path / "rows.csv", 1, 2)), tmp_path / "a.fix").read()
    assert [*reading.searches] == [PATCH] and any("only 0 known failures" in one for one in reading.warnings)


def test_warnings_say_what_is_missing(tmp_path):
    table = tmp_path / "unknown.csv"
    table.write_text("prompt,answer,note\n" + "".join(f"Say {n} in words.,xq{n},\n" for n in range(8)))
    warnings = Fix.start(asked(tmp_path, table, keep_unknown=True), tmp_path / "a.fix").read().warnings
    assert [one.split(":")[0] for one in warnings] == [
        "ignored note",
        "only 8 known failures to measure on",
        "no row passes",
    ]


def test_what_is_refused_before_there_is_a_folder(tmp_path, nano_copy):
    table = write_table(tmp_path / "rows.csv", 4, 2)
    folder = tmp_path / "a.fix"
    with pytest.raises(ProbeFormatError, match="no such file"):
        Fix.start(asked(tmp_path, tmp_path / "none.csv"), folder)
    with pytest.raises(StoreError, match="the report is a page; name it mine.txt.html"):
        Fix.start(asked(tmp_path, table, report=str(tmp_path / "mine.txt")), folder)
    (tmp_path / "own.html").write_text("<html>mine</html>")
    with pytest.raises(StoreError, match="is not the report of a fix; give --report a new name"):
        Fix.start(asked(tmp_path, table, report=str(tmp_path / "own.html")), folder)
    with pytest.raises(StoreError, match="need a name each; give --report or --run another one"):
        Fix.start(asked(tmp_path, table), tmp_path / "mine.bankai")
    with pytest.raises(StoreError, match="exists and is not a patch"):
        Fix.start(asked(tmp_path, table, output=str(table)), folder)
    with pytest.raises(StateError, match="fix its base"):
        Fix.start(asked(tmp_path, table, model=str(nano_copy)), folder)
    assert not folder.exists()


@pytest.fixture
def nano_copy(tmp_path):
    """A copy of nano with a patch on."""
    import shutil
    from importlib import resources

    from bankai.checkpoint.model_file import open_checkpoint

    path = tmp_path / "nano.gguf"
    with resources.as_file(resources.files("bankai.data") / "nano.gguf") as source:
        shutil.copy(source, path)
    with open_checkpoint(path) as checkpoint:
        patch = bind(Patch(frozenset([Flip("model.layers.0.mlp.up_proj", 3)])), checkpoint)
    apply_in_place(path, patch)
    return path


def test_folders_that_are_something_else(small, tmp_path):
    done, *_ = small
    table = write_table(tmp_path / "rows.csv", 4, 2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(StoreError, match="holds something else; choose another folder with --run"):
        Fix.start(asked(tmp_path, table), tmp_path / "other")
    assert (tmp_path / "other" / "file").read_text() == "mine"
    begun = tmp_path / "begun.fix"
    Fix.start(asked(tmp_path, table), begun)
    Fix.start(asked(tmp_path, table), begun)  # nothing has been searched yet
    (begun / "patch.run").mkdir()
    with pytest.raises(StoreError, match="holds an unfinished fix; go on with --resume"):
        Fix.start(asked(tmp_path, table), begun)
    with pytest.raises(StoreError, match="is not the folder of a fix"):
        Fix.resume(tmp_path / "other")
    (begun / "asked.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        Fix.resume(begun)
    assert done.folder.kept(PATCH, SearchResult) is not None


def test_another_model_does_not_go_on(tmp_path):
    table = write_table(tmp_path / "rows.csv", 4, 2)
    folder = tmp_path / "a.fix"
    Fix.start(asked(tmp_path, table), folder)
    started = msgspec.json.decode((folder / "asked.json").read_bytes())
    (folder / "asked.json").write_bytes(msgspec.json.encode(started | {"fingerprint": "0" * 64}))
    with pytest.raises(StateError, match="is not the model that .* began with; put that one back"):
        Fix.resume(folder)


def test_unseen_rows_are_never_read(small, large):
    for _, reading, _ in (small, large):
        for probes in reading.searches.values():
            read = {probe.item for probe in probes if probe.split not in REPORTED}
            assert not read & {probe.item for probe in probes if probe.split in REPORTED}
