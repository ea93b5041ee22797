"""Tables as people have them: other names of columns, chats of the usual sets, Parquet, and what is refused."""

import io
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from bankai.errors import ProbeFormatError
from bankai.probes import Message, tables
from bankai.probes.cases import read_cases
from bankai.probes.columns import Columns
from bankai.probes.graders import Contains, Json, Not, Number


def read(tmp_path, rows, name="rows.jsonl", **options):
    path = tmp_path / name
    if isinstance(rows, str):
        path.write_text(rows)
    elif name.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return read_cases(path, **options).probes


@pytest.mark.parametrize("prompt", ["prompt", "question", "input", "Instruction"])
@pytest.mark.parametrize("answer", ["answer", "output", "expected", "Completion", "response", "target"])
def test_common_names(tmp_path, prompt, answer):
    for name, text in (
        ("a.csv", f"{answer},{prompt}\n4,2+2?\n"),
        ("a.tsv", f"{prompt}\t{answer}\n2+2?\t4\n"),
    ):
        (probe,) = read(tmp_path, text, name)
        assert (probe.prompt, probe.answers) == ("2+2?", ("4",))
    (probe,) = read(tmp_path, [{prompt: "2+2?", answer: "4"}])
    assert (probe.prompt, probe.answers) == ("2+2?", ("4",))


def test_our_names_win(tmp_path):
    text = "question,output,prompt,answer\nno,no,2+2?,4\n"
    cases = read_cases(write(tmp_path, text))
    assert (cases.probes[0].prompt, cases.probes[0].answers) == ("2+2?", ("4",))
    assert cases.ignored == ("question", "output")


def write(tmp_path, text):
    path = tmp_path / "own.csv"
    path.write_text(text)
    return path


def test_an_instruction_and_its_input_are_one_prompt(tmp_path):
    rows = [
        {"instruction": "Add.", "input": "2, 2", "output": "4"},
        {"instruction": "Say hi.", "input": "", "output": "hi"},
    ]
    assert [probe.prompt for probe in read(tmp_path, rows)] == ["Add.\n\n2, 2", "Say hi."]


def test_columns_that_are_named(tmp_path):
    columns = Columns(prompt="Ask", answer="want")
    text = "prompt;ask;want\nno;2+2?;4\n"
    (probe,) = read(tmp_path, text, "a.csv", columns=columns)
    assert (probe.prompt, probe.answers) == ("2+2?", ("4",))
    with pytest.raises(
        ProbeFormatError, match="row 1: no column 'Ask' among 'prompt', 'answer'; give one of those"
    ):
        read(tmp_path, "prompt,answer\na,b\n", "b.csv", columns=columns)


CHAT = (Message("system", "Be brief."), Message("user", "2+2?"))


@pytest.mark.parametrize(
    "row",
    [
        {"system": "Be brief.", "prompt": "2+2?", "answer": "4"},
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "2+2?"},
                {"role": "assistant", "content": "4"},
            ]
        },
        {
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "2+2?"},
                {"from": "gpt", "value": "4"},
            ]
        },
        {
            "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}],
            "completion": [{"role": "assistant", "content": "4"}],
        },
    ],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_chats_of_the_usual_sets(tmp_path, row, name):
    (probe,) = read(tmp_path, [row], name)
    assert probe.messages == CHAT and probe.answers == ("4",) and probe.stop is None


def test_parquet_keeps_numbers_as_they_are_written(tmp_path):
    rows = [
        {"prompt": "a", "answer": 3, "reply": None, "id": 7},
        {"prompt": "b", "answer": None, "reply": "x", "id": 8},
    ]
    one, two = read(tmp_path, rows, "rows.parquet")
    assert (one.answers, one.id, two.answers) == (("3",), "7", ("x",))


def test_parquet_that_is_none(tmp_path):
    path = tmp_path / "rows.parquet"
    whole = io.BytesIO()
    parquet.write_table(pa.table({"prompt": ["a"], "answer": ["b"]}), whole)
    data = whole.getvalue()
    for bad in (b"", b"PAR1", data[:-9], data[: len(data) // 2], b"x" + data[1:-4] + b"PAR2"):
        path.write_bytes(bad)
        with pytest.raises(ProbeFormatError, match=r"rows\.parquet: no sound Parquet file"):
            read_cases(path)


def test_parquet_that_grows(tmp_path, monkeypatch):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"prompt": ["a" * 1000] * 1000, "answer": ["b"] * 1000}), path)
    monkeypatch.setattr(tables, "MAX_PARQUET_BYTES", 100)
    with pytest.raises(ProbeFormatError, match="when it is unpacked; split it"):
        read_cases(path)


def test_graders_by_column_and_for_all(tmp_path):
    text = "prompt,answer,grade\na,Paris,contains\nb,sorry,not contains\nc,,json:x\nd,7,\n"
    first, second, third, last = read(tmp_path, text, "a.csv", grade="number:1%")
    assert first.grade == Contains(("Paris",)) and first.answers == ("Paris",)
    assert second.grade == Not(Contains(("sorry",))) and second.answers == ()
    assert third.grade == Json(keys=("x",)) and third.answers == ()
    assert last.grade == Number(("7",), 0.01, True)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_with_a_grader_for_all_no_answers_are_needed(tmp_path, name):
    rows = "prompt\na\n" if name == "a.csv" else [{"prompt": "a"}]
    (probe,) = read(tmp_path, rows, name, grade="json")
    assert probe.answers == () and probe.grade == Json()


def test_parquet_without_a_value(tmp_path):
    rows = [
        {"prompt": "a", "answer": "x", "id": 1.0},
        {"prompt": b"b".decode(), "answer": "y", "id": float("nan")},
    ]
    assert [probe.id for probe in read(tmp_path, rows, "rows.parquet")] == ["1", "row-2"]


def test_a_reply_of_a_graded_row_is_learnt_from_if_it_is_right(tmp_path):
    row = {"prompt": "a", "answer": "Paris", "reply": "It is Paris.", "grade": "contains"}
    (probe,) = read(tmp_path, [row])
    assert probe.answers == ("Paris", "It is Paris.")
    with pytest.raises(
        ProbeFormatError, match="row 1: its grader does not accept its reply 'London'; mend one"
    ):
        read(tmp_path, [row | {"reply": "London"}])


def test_a_fault_of_a_grader_names_its_row(tmp_path):
    with pytest.raises(ProbeFormatError, match=r"a\.csv, row 3: no grader 'fuzzy'; give one of"):
        read(tmp_path, "prompt,answer,grade\na,b,exact\na2,b,fuzzy\n", "a.csv")
