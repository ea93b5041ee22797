"""`bankai search --cluster`: what is refused before anything starts, and what is shown while workers compute."""

import pytest

from bankai.cli.progress import search_progress
from bankai.search import SearchSettings, Staffed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cluster", "ray://head:10001"], "give local, local:N"),
        (["--cluster", "127.0.0.1:9"], "nothing answers at 127.0.0.1:9"),
        (["--cluster", "no..where:9"], "nothing answers at no..where:9"),
        (["--threads", "2"], "are of the workers of a --cluster"),
        (["--gpus-per-worker", "0.5"], "are of the workers of a --cluster"),
    ],
)
def test_what_cannot_be_is_one_line(run, tmp_path, monkeypatch, options, message) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("search", "nano", "--target", "elicitable", "-o", "p.bankai", *options)
    assert done.code == 2 and not done.out
    assert message in " ".join(done.err.replace("│", " ").split())
    assert not any(tmp_path.iterdir())


def test_a_run_goes_on_wherever_it_is_told(run, tmp_path) -> None:
    done = run("search", "--resume", str(tmp_path), "--cluster", "local:2")
    assert done.code == 2 and "not the folder of a search" in done.err
    done = run("search", "--resume", str(tmp_path), "--cluster", "local:2", "--threads", "2")
    assert done.code == 2 and "give no threads" in done.err


def test_a_log_tells_of_trouble_only(capsys) -> None:
    events = [Staffed(1, 0, ("a",)), Staffed(2, 0, ("a",)), Staffed(1, 1, ("a",)), Staffed(2, 1, ("a", "b"))]
    with search_progress() as display:
        for event in events:
            display.show("guided", SearchSettings(), event)
    assert capsys.readouterr().err.splitlines() == [
        "guided: 1 worker, 1 lost",
        "guided: 2 workers, 1 lost; the last digits may depend on who computes: a, b",
    ]
