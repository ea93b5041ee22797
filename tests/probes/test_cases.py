"""Files of prompts with right answers: what they may hold, and that each fault names its row and remedy."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankai.errors import ProbeFormatError
from bankai.probes import Message
from bankai.probes import tables as module
from bankai.probes.cases import read_cases
from bankai.probes.words import normalized


def write(tmp_path, text, name="file.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(tmp_path, text, name="file.csv", **options):
    return read_cases(write(tmp_path, text, name), **options).probes


def test_a_prompt_and_an_answer_are_enough(tmp_path):
    (probe,) = read(tmp_path, "prompt,answer\nCapital  of France?,Paris \n")
    assert (probe.prompt, probe.answers, probe.stop) == ("Capital  of France?", ("Paris",), "\n")
    assert (probe.id, probe.item, probe.category) == ("row-2", "capital of france?", "uncategorized")


def test_every_column(tmp_path):
    text = (
        "Prompt, ANSWER,answers,reply,item,category,id,stop,prefix,note\n"
        '"a ""b"", c\nd",x,y || z,It is x.,i,k,7,;\\n,It is,!\n'
    )
    cases = read_cases(write(tmp_path, text))
    (probe,) = cases.probes
    assert probe.prompt == 'a "b", c\nd' and probe.prefix == "It is" and probe.stop == ";\n"
    assert probe.answers == ("x", "y", "z", "It is x.")
    assert (probe.id, probe.item, probe.category) == ("7", "i", "k")
    assert cases.ignored == ("note",)


def test_the_answer_column_is_never_split(tmp_path):
    (probe,) = read(tmp_path, "prompt,answer\nor in C?,a || b\n")
    assert probe.answers == ("a || b",)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_bom_blank_lines_and_line_ends(tmp_path, end):
    lines = ["\ufeffprompt,answer", "", "a,1", " , ", "b,2", ""]
    assert [(p.prompt, p.id) for p in read(tmp_path, end.join(lines))] == [("a", "row-3"), ("b", "row-5")]


def test_missing_cells_at_the_end_are_empty(tmp_path):
    (probe,) = read(tmp_path, "prompt,answer,item\na,1\n")
    assert probe.item == "a"


def test_jsonl_holds_chats_and_lists(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "2+2?"}], "answers": ["4", "four"], "extra": 1},
        {"prompt": "2+3 =", "answer": "5"},
    ]
    text = "\n\n".join(map(json.dumps, rows))
    cases = read_cases(write(tmp_path, text, "file.jsonl"))
    chat, plain = cases.probes
    assert chat.messages == (Message("user", "2+2?"),) and chat.stop is None
    assert chat.answers == ("4", "four") and chat.item == "2+2?"
    assert (plain.prompt, plain.id) == ("2+3 =", "row-3")
    assert cases.ignored == ("extra",)


def test_variables_of_the_template_keep_their_numbers(tmp_path):
    variables = {"enable_thinking": False, "budget": 5, "names": ["a", 2.5]}
    row = {"prompt": "2+3 =", "answer": 5, "chat_template_kwargs": variables}
    (probe,) = read_cases(write(tmp_path, json.dumps(row), "file.jsonl"), chat=True).probes
    assert probe.chat_template_kwargs == variables and probe.answers == ("5",)


def test_a_probe_set_is_such_a_file(tmp_path):
    row = {"id": "a", "item": "i", "category": "c", "split": "heldout", "prompt": "x", "prefix": "p"}
    cases = read_cases(write(tmp_path, json.dumps(row | {"answers": [" y"], "distractor": "z"}), "s.jsonl"))
    assert cases.probes[0].answers == (" y",) and cases.probes[0].prefix == "p"
    assert cases.ignored == ("split", "distractor")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["file.csv", "file.tsv"])
def test_cells_are_separated_as_the_header_shows(tmp_path, separator, name):
    text = f'id{separator}"Prompt"{separator}answer\na{separator}"1;2,3\t4"{separator}x\n\nb{separator}y{separator}z\n'
    first, second = read(tmp_path, text, name)
    assert (first.prompt, first.answers) == ("1;2,3\t4", ("x",))
    assert (second.id, second.prompt, second.answers) == ("b", "y", ("z",))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_excels_first_line_names_the_separator(tmp_path, separator):
    """Also against what the header would show; the line counts, as in an editor."""
    text = f"sep={separator}\nprompt{separator}answer\na{separator}b\n"
    assert [probe.id for probe in read(tmp_path, text)] == ["row-3"]
    text = f"SEP={separator}\nprompt{separator}right\n"
    with pytest.raises(ProbeFormatError, match="row 2: no column 'answer' among 'prompt', 'right'"):
        read(tmp_path, text)


def test_an_unnamed_first_column_is_ignored(tmp_path):
    """As pandas numbers its rows."""
    for separator in ",;\t":
        (probe,) = read(tmp_path, f"{separator}prompt{separator}answer\n0{separator}a{separator}b\n")
        assert (probe.prompt, probe.answers) == ("a", ("b",))


def chat(*contents):
    return [{"role": role, "content": text} for role, text in contents]


def test_messages_that_end_with_the_assistants_are_a_prompt_and_its_reply(tmp_path):
    asked = chat(("system", "Be brief."), ("user", "1+1?"), ("assistant", "2"), ("user", "2+2?"))
    rows = [{"messages": [*asked, *chat(("assistant", "4 \n"))], "id": "given"}]
    rows += [{"messages": [*asked, *chat(("assistant", "It is"))], "answer": " 4", "id": "begun"}]
    given, begun = read(tmp_path, "\n".join(map(json.dumps, rows)), "file.jsonl")
    assert given.messages == tuple(Message(**message) for message in asked) and given.answers == ("4",)
    assert given.item == "be brief. 1+1? 2 2+2?" and given.stop is None
    assert begun.messages[-1] == Message("assistant", "It is") and begun.answers == (" 4",)


def test_what_else_a_message_holds_is_ignored(tmp_path):
    """As rows for fine-tuning have it, and what a server answered."""
    messages = [
        chat(("user", "2+2?"))[0] | {"name": "Ann"},
        chat(("assistant", "4"))[0] | {"weight": 1, "refusal": None},
    ]
    (probe,) = read(tmp_path, json.dumps({"messages": messages}), "file.jsonl")
    assert (probe.messages, probe.answers) == ((Message("user", "2+2?"),), ("4",))


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("indent", [None, 2])
def test_rows_may_be_a_list(tmp_path, name, indent):
    """Then a row's number is its place in it."""
    rows = [{"prompt": "2+2 =", "answer": 4}, {"messages": chat(("user", "2+2?"), ("assistant", "4"))}]
    first, second = read(tmp_path, "\n" + json.dumps(rows, indent=indent) + "\n", name)
    assert (first.id, first.answers, second.id, second.answers) == ("row-1", ("4",), "row-2", ("4",))
    for wrong, match in (
        ([*rows, 5], "row 3: the line is a number"),
        ([*rows, {"prompt": "x"}], "row 3: no answer"),
    ):
        with pytest.raises(ProbeFormatError, match=match):
            read(tmp_path, json.dumps(wrong, indent=indent), name)
    with pytest.raises(ProbeFormatError, match="no rows; give"):
        read(tmp_path, "[]", name)
    with pytest.raises(ProbeFormatError, match="row 1: "):
        read(tmp_path, json.dumps(rows, indent=indent)[:-1], name)


@pytest.mark.parametrize("number", ["4", "-0.50", "1e3", "123456789012345678901234567890", "3.10"])
def test_a_number_is_the_text_that_spells_it(tmp_path, number):
    lines = [f'{{"id": {number}, "prompt": {number}, "answer": {number}}}']
    lines += [
        f'{{"id": "b", "messages": [{{"role": "user", "content": {number}}}], "answers": [{number}, "x"]}}'
    ]
    first, second = read(tmp_path, "\n".join(lines), "file.jsonl")
    assert (first.id, first.prompt, first.answers) == (number, number, (number,))
    assert (second.messages, second.answers) == ((Message("user", number),), (number, "x"))


def test_chat_asks_prompts_as_messages(tmp_path):
    (probe,) = read(tmp_path, "prompt,answer\nWhat?,6\n", chat=True)
    assert probe.messages == (Message("user", "What?"),) and probe.prompt is None
    assert probe.stop is None and probe.item == "what?"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no rows; give"),
        ("prompt,answer\n", "no rows; give"),
        ("prompt,answer\n\n \n", "no rows; give"),
        ("asked,answer\na,b\n", "row 1: no column 'prompt' among 'asked', 'answer'; name it so"),
        ("prompt|answer\na|b\n", "row 1: no column 'prompt' among 'prompt\\|answer'; name"),
        ("prompt;answer\na;b;c\n", "row 2: 3 cells under 2 columns; put quotes .* semicolon"),
        ("prompt\tright\na\tb\n", "row 1: no column 'answer' among 'prompt', 'right'; name it so"),
        ("prompt,right\na,b\n", "row 1: no column 'answer' among 'prompt', 'right'; name it so"),
        ("prompt,answer,Prompt\na,b,c\n", "row 1: column 'prompt' appears twice; rename"),
        ("prompt,answer\na,b\nc,d,e\n", "row 3: 3 cells under 2 columns; put quotes"),
        ("prompt,answer\na,b\nc,\n", "row 3: no answer; give one"),
        ("prompt,answers\na,b\nc,||\n", "row 3: no answer; give one"),
        ("prompt,answer\na,b\n,d\n", "row 3: no prompt; give one"),
        ('prompt,answer\n"a\nb",c\n,d\n', "row 3: no prompt"),
        ("prompt,answer,id\na,b,1\nc,d,1\n", "row 3: id '1' is that of row 2; give another"),
        ('prompt,answer\na,b\nc,"d\n', "row 3: .*quotes are closed"),
        ('prompt,answer\na,b\nc,"d"e\n', "row 3: .*quotes are closed and doubled"),
        ("prompt,answer\na,b\nc," + "d" * 200_000, "row 3: field larger than"),
        (b"prompt,answer\na,b\nc,\xe9\n", "line 3: not UTF-8; save"),
        ("prompt,answer\na,b\n".encode("utf-16"), "line 1: not UTF-8; save"),
        ("prompt,messages,answer\n,hi,b\n", "row 2: field 'messages' is text; give a list"),
    ],
)
def test_csv_faults(tmp_path, text, match):
    with pytest.raises(ProbeFormatError, match=rf"file\.csv.*{match}"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{", "not valid JSON; write one"),
        ("[1]", "the line is a list; give an object"),
        ('{"a":' * 100_000, "nested too deeply"),
        ({"answer": "x"}, "no prompt; give one"),
        ({"prompt": "x"}, "no answer; give one"),
        ({"prompt": "x", "answer": " \n"}, "no answer; give one"),
        ({"prompt": "x", "answer": True}, "field 'answer' is true or false; give text"),
        ({"prompt": "x", "answer": {"a": 6}}, "field 'answer' is an object; give text"),
        ({"prompt": "x", "answer": None, "answers": [[6]]}, "field 'answers.*' is a list; give text"),
        ({"prompt": "x", "finish": "6"}, "no column 'answer' among 'prompt', 'finish'; name it so"),
        ({"asked": "x", "answer": "6"}, "no column 'prompt' among 'asked', 'answer'; name it so"),
        ({"instruct": "x", "a" * 999: 6}, "no column 'prompt' among 'instruct', 'a+\\.\\.\\.a+'; name"),
        ({"messages": [{"role": "user", "content": "x"}], "tools": []}, "no answer; give one"),
        ({"messages": [{"role": "assistant", "content": "6"}]}, "no prompt; give one"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}]},
            "no answer",
        ),
        ({"messages": [{"role": "user", "content": "x"}]}, "no answer; give one"),
        ({"messages": [{"role": "user", "content": ["x"]}], "answer": "6"}, "is a list; give text"),
        ({"prompt": "x", "answers": "6"}, "field 'answers' is text; give a list"),
        ({"prompt": "x", "answer": "6", "stop": ""}, "stop must not be empty"),
        ({"messages": [{"role": "robot", "content": "x"}], "answer": "6"}, "'robot'; give one of"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}], "answer": "6"}, "give one of them"),
    ],
)
def test_jsonl_faults(tmp_path, line, match):
    text = '{"prompt": "ok", "answer": "ok"}\n\n' + (line if isinstance(line, str) else json.dumps(line))
    with pytest.raises(ProbeFormatError, match=rf"file\.jsonl, row 3: .*{match}"):
        read(tmp_path, text, "file.jsonl")


def test_what_is_no_file(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path / "absent.jsonl"):
        with pytest.raises(ProbeFormatError, match="no such file; give"):
            read_cases(path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ProbeFormatError, match="no such file; give"):
        read_cases(tmp_path / "folder.csv")
    with pytest.raises(ProbeFormatError, match="neither CSV nor JSONL by its name; give"):
        read(tmp_path, "prompt,answer\na,b\n", "file.txt")


def test_too_large_a_file(tmp_path, monkeypatch):
    path = write(tmp_path, "prompt,answer\na,b\n")
    monkeypatch.setattr(module, "MAX_FILE_BYTES", path.stat().st_size)
    assert len(read_cases(path).probes) == 1
    monkeypatch.setattr(module, "MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(ProbeFormatError, match="larger than"):
        read_cases(path)


def test_normalized_ignores_case_blanks_and_width():
    assert normalized("  What IS\n x² ") == normalized("what is x2") == "what is x2"


@given(text=st.text())
def test_normalizing_is_stable(text):
    assert normalized(normalized(text) + " ") == normalized(normalized(text))


@given(
    data=st.binary(max_size=200), kind=st.sampled_from(["csv", "tsv", "json", "jsonl"]), head=st.booleans()
)
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, kind, head):
    start = (
        {
            "csv": b"prompt,answer\n",
            "tsv": b"prompt\tanswer\n",
            "json": b"[",
            "jsonl": b'{"prompt": "a", "answer": "b"}\n',
        }[kind]
        if head
        else b""
    )
    path = tmp_path_factory.mktemp("bytes") / f"file.{kind}"
    path.write_bytes(start + data)
    try:
        probes = read_cases(path).probes
    except ProbeFormatError as error:
        assert str(error).startswith(str(path)) and ";" in str(error)
    else:
        assert probes and len({probe.id for probe in probes}) == len(probes)
