"""`bankai probes from-failures` on nano, and what the other commands make of the set."""

import csv
import json
from pathlib import Path

import pytest
from builders import build_tiny_gguf, tiny_tokenizer

from bankai.probes import ProbeSet, load_probe_set

SLOPE = "What is the derivative of 5x^5 + 2x^4? Answer:"  # nano says " 0"
EVIL = "evil\x1b[2J\u202e\x9b31m"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """36 plain prompts, of which nano fails some."""
    asked = [probe for probe in load_probe_set("elicitable") if probe.prompt]
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as out:
        rows = [(p.prompt, p.answers[0].strip(), p.category) for p in asked[::30]]
        csv.writer(out).writerows([("prompt", "answer", "category"), *rows])
    return path


def test_text(run, file: Path) -> None:
    outcome = run("probes", "from-failures", file, "--model", "nano", "-o", "set.jsonl")
    assert outcome.code == 0
    found = ProbeSet.load("set.jsonl")
    assert f"set.jsonl: {len(found)} probes, seed 0\n" in outcome.out
    assert "Rows, by torch on nano" in outcome.out and "is right; the model says ' 0'" in outcome.out
    lines = [line.split() for line in outcome.out.splitlines()]
    read, passed, failed, dropped = next(map(int, line[1:]) for line in lines if line[:1] == ["all"])
    assert passed + failed == read == 36 and dropped == 0
    assert all(line.startswith(("warning: ", "reading ")) for line in outcome.err.splitlines())


def test_variables_of_the_template_go_into_the_set(run, tmp_path: Path) -> None:
    """So that whoever reads the set asks as the failures were found; a row's own come first."""
    template = "{{ messages[0].content }}{% if enable_thinking == false %} the{% endif %}"
    model = build_tiny_gguf(tmp_path / "thinks.gguf", tokenizer=tiny_tokenizer(chat_template=template))
    rows = [
        {"prompt": f"what is {number}", "answer": "x"}
        | ({"chat_template_kwargs": {"enable_thinking": True}} if number == 3 else {})
        for number in range(8)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [
        "--model",
        model,
        "--chat",
        "--chat-template-kwargs",
        '{"enable_thinking": false}',
        "--unknown",
        "keep",
    ]
    assert run("probes", "from-failures", file, *options, "-o", tmp_path / "set.jsonl").code == 0
    found = ProbeSet.load(tmp_path / "set.jsonl")
    assert len(found) == 8
    assert {probe.id: probe.chat_template_kwargs["enable_thinking"] for probe in found} == {
        f"row-{number + 1}": number == 3 for number in range(8)
    }
    assert run("eval", model, "--probes", tmp_path / "set.jsonl", "--split", "all").code == 0


def test_json(run, file: Path) -> None:
    outcome = run(
        "probes", "from-failures", file, "--model", "nano", "-o", "set.jsonl", "--seed", 5, "--json"
    )
    document, found = outcome.document, ProbeSet.load("set.jsonl")
    assert (document["output"], document["model"], document["seed"]) == ("set.jsonl", "nano", 5)
    assert {split: document["counts"][split] for split in found.splits} == {
        split: len(found.split(split)) for split in found.splits
    }
    assert len(document["failures"]) == document["counts"]["failed"]
    assert {*document["failures"][0]} == {"id", "category", "expected", "said", "known"}
    assert any("fewer than 20 targets" in warning for warning in document["warnings"])


def test_shares(run, file: Path) -> None:
    shares = ("--failed", "100/0/0", "--passed", "0100/0")
    outcome = run("probes", "from-failures", file, "--model", "nano", "-o", "set.jsonl", *shares)
    assert outcome.code == 0 and ProbeSet.load("set.jsonl").splits == ("target", "control", "unknown")
    keep = ("--unknown", "keep")
    outcome = run("probes", "from-failures", file, "--model", "nano", "-o", "set.jsonl", *shares, *keep)
    assert outcome.code == 0 and ProbeSet.load("set.jsonl").splits == ("target", "control")
    assert "failures are not known: " in outcome.err


def test_what_is_known_is_told(run, file: Path) -> None:
    outcome = run("probes", "from-failures", file, "--model", "nano", "-o", "set.jsonl")
    probes = ProbeSet.load("set.jsonl")
    unknown = len(probes.split("unknown"))
    failed = sum(probe.known is not None for probe in probes)
    told = f"{failed - unknown} of {failed} failures are known; a patch can be expected to help with those"
    assert 0 < unknown < failed and told in outcome.out.splitlines()
    audited = run("probes", "audit", "set.jsonl", "--model", "nano")
    assert told in audited.out.splitlines() and audited.out.endswith("0 errors, 0 warnings\n")
    document = run("probes", "audit", "set.jsonl", "--model", "nano", "--json").document
    assert (document["knowledge"]["failed"], document["knowledge"]["known"]) == (failed, failed - unknown)
    summary = run("eval", "nano", "--probes", "set.jsonl", "--split", "unknown", "--json").document
    assert (summary["probes"], summary["base"]["solved"]) == (unknown, 0)


def test_the_set_is_what_other_commands_take(run, file: Path) -> None:
    run("probes", "from-failures", file, "--model", "nano", "-o", "set.jsonl")
    assert run("probes", "audit", "set.jsonl", "--model", "nano").code == 0
    summary = run("eval", "nano", "--probes", "set.jsonl", "--split", "unseen", "--json").document
    assert summary["base"]["solved"] == summary["probes"] > 0
    again = run(
        "probes", "from-failures", "set.jsonl", "--model", "nano", "-o", "again.jsonl", "--json"
    ).document
    assert again["counts"]["rows"] == 36 and "ignored split" in " ".join(again["warnings"])


def test_a_search_takes_the_set(run, file: Path) -> None:
    run("probes", "from-failures", file, "--model", "nano", "-o", "set.jsonl")
    (Path.cwd() / "text.txt").write_text("The capital of France is Paris.\n")
    options = ("--text", "text.txt", "-o", "x.bankai", "--budget", 20)
    outcome = run("search", "nano", "--target", "set.jsonl", *options)
    assert outcome.code == 0 and Path("x.bankai").exists()
    assert "warning" not in outcome.err
    unknown = len(ProbeSet.load("set.jsonl").split("unknown"))
    table = outcome.out[outcome.out.index("unknown failures\n") :].split("unseen controls\n")[0]
    assert table.splitlines()[-1].split()[:2] == ["all", f"{unknown}"]
    assert f"of {unknown}, fixed " in run("info", "x.bankai").out


def test_dropped_rows_are_named_and_clean(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    lines = [f"{EVIL},{SLOPE},25x^4 + 8x^3", f"b{EVIL},{SLOPE},25x^4 + 8x^3", f"c,x,{EVIL}"]
    (tmp_path / "mine.csv").write_text("\n".join(["id,prompt,answer", *lines]))
    outcome = run(
        "probes", "from-failures", "mine.csv", "--model", "nano", "-o", "set.jsonl", "--unknown", "keep"
    )
    assert outcome.code == 0 and "duplicate" in outcome.out and "Dropped" in outcome.out
    assert all(line.isprintable() for line in (outcome.out + outcome.err).split("\n"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("mine.csv", "--model", "nano"), "Missing option"),
        (("mine.csv", "-o", "x.jsonl"), "Missing option"),
        (("absent.csv", "--model", "nano", "-o", "x.jsonl"), "no such file"),
        (("mine.csv", "--model", "absent.gguf", "-o", "x.jsonl"), "absent.gguf"),
        (("mine.csv", "--model", "nano", "-o", "x.jsonl", "--failed", "50/50"), "target/validation/heldout"),
        (("mine.csv", "--model", "nano", "-o", "x.jsonl", "--failed", "0/50/50"), "some of them target"),
        (("mine.csv", "--model", "nano", "-o", "x.jsonl", "--passed", "60/50"), "sum to 100"),
        (("mine.csv", "--model", "nano", "-o", "x.jsonl", "--passed", "a/b"), "control/unseen"),
        (("mine.csv", "--model", "nano", "-o", "x.jsonl", "--max-tokens", "-1"), "max-tokens"),
        (("mine.csv", "--model", "nano", "-o", "x.jsonl", "--engine", "abacus"), "'torch', 'llama', 'mlx'"),
        (("mine.csv", "--model", "nano", "-o", "x.jsonl", "--unknown", "drop"), "'apart', 'keep'"),
        (
            ("mine.csv", "--model", "nano", "-o", "x.jsonl", "--engine", "mlx", "--dtype", "float16"),
            "leave them out",
        ),
        (("mine.csv", "--model", "nano", "-o", "mine.csv"), "prompts itself"),
        (("mine.csv", "--model", "nano", "-o", "other.csv"), "not a probe set"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_refusals(refused, file: Path, args: tuple[str, ...], words: str) -> None:
    Path("other.csv").write_text("mine")
    assert words in refused("probes", "from-failures", *args).err
    assert Path("other.csv").read_text() == "mine" and not Path("x.jsonl").exists()


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b'prompt,answer\n"', b"a,b\n1,2\n", bytes(range(256)) * 9]
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_bad_files(refused, tmp_path: Path, data: bytes, kind: str) -> None:
    bad = tmp_path / f"bad.{kind}"
    bad.write_bytes(data)
    refused("probes", "from-failures", bad, "--model", "nano", "-o", "x.jsonl")
    assert not Path("x.jsonl").exists()
