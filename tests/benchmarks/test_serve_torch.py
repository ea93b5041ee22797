"""The bench of the torch engine: PEFT computes the same, flips are of the kinds it says, verdicts follow the bars."""

from benchmarks import serve_torch as bench

from bankai.model import load


def test_flips_are_rows_or_groups_of_projections():
    model = load("nano", dense=True)[0]
    rows, groups = (bench.random_flips(model, partial, 4) for partial in (False, True))
    assert len(rows) == len(groups) == bench.FLIPS
    assert {flip.group for flip in rows} == {None} and {flip.group for flip in groups} == {0, 1, 2, 3}
    for flips in (rows, groups):
        assert {flip.tensor.split(".")[3] for flip in flips} == {"self_attn", "mlp"}
    assert rows != bench.random_flips(model, False, 5)


def test_the_report_adds_up_and_judges():
    result = bench.run(quick=True)
    nano, tiny = result["shapes"]["nano"], result["shapes"]["tiny"]
    assert set(nano["milliseconds"]) == {bench.NONE, bench.PLAIN, *bench.BASE} and tiny["peft"] is None
    assert set(tiny["milliseconds"]) == {bench.NONE, bench.ROWS, bench.GROUPS}
    assert all(one["low"] > 0 for found in (nano, tiny) for one in found["milliseconds"].values())
    assert (
        0 < nano["peft"]["difference"] < 1e-3
    )  # float32 sums in another order; of other patches it is above 1
    nano["more"][bench.ROWS]["median"] = 15.1
    assert "Patches of rows on nano cost: 15.1 %, bar at most 15 %: **missed** by 0.1." in bench.table(result)
    nano["more"][bench.ROWS]["median"] = 14.9
    text = bench.table(result)
    assert "bar at most 15 %: met by 0.1." in text
    assert all(f"| {name} |" in text for name in nano["milliseconds"])


def test_times_are_compared_step_by_step():
    times = {"a": [[2.0, 3.0, 9.0], [1.0]], "b": [[1.0, 2.0, 1.0], [4.0]]}
    assert bench._ratios(times, "a", "b") == [2.0, 0.25]
