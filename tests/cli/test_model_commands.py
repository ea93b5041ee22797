"""generate, eval, search, probes audit: commands that compute with a model."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from builders import build_tiny_gguf, tiny_tokenizer

from bankai.checkpoint.model_file import open_checkpoint
from bankai.evaluation import evaluate_file
from bankai.model import load
from bankai.patch import Patch, read_patch, state, write_patch


def test_generate_is_greedy_and_takes_a_patch(run, gguf: Path, patch: Path) -> None:
    model, tokenizer = load(gguf)
    ids = tokenizer("the answer", return_tensors="pt")
    expected = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    text = tokenizer.decode(expected, skip_special_tokens=True)
    base = run("generate", gguf, "the answer", "--max-tokens", 12, "--json").document
    assert base == {"prompt": "the answer", "text": text, "patch": None}
    changed = run("generate", gguf, "the answer", "--max-tokens", 12, "--patch", patch, "--json").document
    assert changed["text"] != base["text"] and changed["patch"] == str(patch)
    assert run("generate", gguf, "the answer", "--max-tokens", 12).out == text + "\n"


def test_generate_samples_by_seed(run, gguf: Path) -> None:
    def sample(seed: int) -> str:
        options = ("--temperature", 1.0, "--seed", seed, "--max-tokens", 12)
        return run("generate", gguf, "the answer", *options).out

    assert sample(1) == sample(1) != sample(2)


def test_generate_chat_puts_the_prompt_into_the_template(run, gguf: Path) -> None:
    chat = run("generate", gguf, "ok", "--chat", "--json").document["text"]
    template = "<|im_start|>user\nok<|im_end|>\n<|im_start|>assistant\n"
    assert chat == run("generate", gguf, template, "--json").document["text"]


def test_generate_chat_with_variables_of_the_template(run, refused, tmp_path: Path) -> None:
    template = "{{ messages[0].content }}{% if enable_thinking == false %} the{% endif %}"
    model = build_tiny_gguf(tmp_path / "thinks.gguf", tokenizer=tiny_tokenizer(chat_template=template))
    option = "--chat-template-kwargs"
    quiet = run("generate", model, "ok", "--chat", option, '{"enable_thinking": false}', "--json").document
    assert quiet["text"] == run("generate", model, "ok the", "--json").document["text"]
    usual = run("generate", model, "ok", "--chat", option, "{}", "--json").document["text"]
    assert usual == run("generate", model, "ok", "--json").document["text"] != quiet["text"]
    for wrong, why in (
        ("{enable_thinking: false}", "is no JSON object"),
        ("[1]", "is no JSON object"),
        ("[" * 100_000, "is no JSON object"),
        ('{"messages": []}', "messages is no variable"),
    ):
        told = refused("generate", model, "ok", "--chat", option, wrong).err
        assert why in told and len(told) < 400
    assert "give --chat too" in refused("generate", model, "ok", option, "{}").err
    assert "only --harness has it" in refused("eval", model, "--probes", "controls", option, "{}").err


def test_generate_chat_in_a_template_by_name(run, refused, tmp_path: Path) -> None:
    spec = tiny_tokenizer(other_templates={"bare": "{{ messages[0].content }}", "\x1b[2J": "x"})
    model = build_tiny_gguf(tmp_path / "named.gguf", tokenizer=spec)
    bare = run("generate", model, "ok the", "--chat", "--chat-template", "bare", "--json").document["text"]
    assert bare == run("generate", model, "ok the", "--json").document["text"]
    usual = run("generate", model, "ok the", "--chat", "--json").document["text"]
    assert (
        usual
        == run("generate", model, "ok the", "--chat", "--chat-template", "default", "--json").document["text"]
    )
    told = refused("generate", model, "ok", "--chat", "--chat-template", "absent").err
    assert "no chat template 'absent'; those that it has: 'default', 'bare', " in told and "\x1b" not in told
    assert "give --chat too" in refused("generate", model, "ok", "--chat-template", "bare").err


def test_generate_refuses_a_prompt_beyond_the_context(refused, gguf: Path) -> None:
    assert "less than 256" in refused("generate", gguf, "q" * 300).err


def test_eval_counts_what_the_library_counts(run, gguf: Path, patch: Path, probe_file: Path) -> None:
    document = run(
        "eval", gguf, "--probes", probe_file, "--patch", patch, "--split", "all", "--json"
    ).document
    expected = evaluate_file(gguf, probe_file, patch, split="all").to_dict()
    assert document == json.loads(json.dumps(expected))
    assert document["probes"] == 16 and set(document["categories"]) == {"even", "odd"}
    assert {"fixed", "broke", "p_value"} <= set(document)
    assert {"solved"} <= set(document["base"]) and {"solved"} <= set(document["patched"])


def test_eval_without_a_patch(run, gguf: Path, probe_file: Path) -> None:
    document = run("eval", gguf, "--probes", probe_file, "--json").document
    assert set(document) == {"probes", "base", "categories"} and document["probes"] == 3
    assert document["base"]["solved"] == document["categories"]["even"]["base"]["solved"] == 0
    assert "all" in run("eval", gguf, "--probes", probe_file).out


def test_eval_in_mlx_agrees(run, gguf: Path, patch: Path, probe_file: Path) -> None:
    pytest.importorskip("mlx.core", reason="the mlx extra is part of `make test`")
    command = ("eval", gguf, "--probes", probe_file, "--patch", patch, "--split", "all", "--json")
    assert run(*command, "--engine", "mlx").document == run(*command).document


def test_search_writes_a_bound_patch_and_reports(run, gguf: Path, probe_file: Path) -> None:
    command = ("search", gguf, "--target", probe_file, "--budget", 20, "-o", "found.bankai", "--json")
    outcome = run(*command)
    document, patch = outcome.document, read_patch("found.bankai")
    assert outcome.code == 0 and document["flips"] == len(patch) > 0 and document["fitness"] > 0
    assert document["evaluations"] <= 20
    assert document["heldout"]["probes"] == 3 and document["control"]["probes"] == 3
    assert document["file_bytes"] == Path("found.bankai").stat().st_size
    assert "guided:" in outcome.err
    with open_checkpoint(gguf) as checkpoint:
        assert state(checkpoint, patch) == "base"
    info = run("info", "found.bankai", "--json").document
    assert info["bits"] == run("info", "found.bankai", "--model", gguf, "--json").document["bits"]
    assert info["manifest"]["strategy"] == "guided" and info["manifest"]["name"] == "found"


def test_search_is_reproducible_by_seed(run, gguf: Path, probe_file: Path) -> None:
    def flips(seed: int) -> object:
        options = ("--strategy", "greedy", "--budget", 12, "--seed", seed)
        run("search", gguf, "--target", probe_file, *options, "-o", "p.bankai")
        return read_patch("p.bankai")

    assert flips(1) == flips(1) != flips(2)


@pytest.mark.parametrize("json_", [[], ["--json"]], ids=["text", "json"])
def test_search_that_finds_nothing_writes_nothing(
    run, gguf: Path, probe_file: Path, json_: list[str]
) -> None:
    """One evaluation is less than one try."""
    outcome = run("search", gguf, "--target", probe_file, "--budget", 1, "-o", "none.bankai", *json_)
    assert outcome.code == 1 and not Path("none.bankai").exists()
    told = outcome.err.splitlines()[-1]
    assert told.startswith("no patch found: budget too small for one round; nothing written; ")
    assert told.endswith("a larger --budget may help")
    if json_:
        assert outcome.document["flips"] == 0 and outcome.document["patch"] is None
    else:
        assert outcome.out == ""


def test_search_warns_of_absent_splits(run, gguf: Path, probe_file: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.jsonl"
    lines = probe_file.read_text().splitlines(keepends=True)
    bare.write_text("".join(line for line in lines if '"split":"target"' in line))
    bare_options = ("--budget", 1, "-o", "p.bankai", "--text", "none")
    err = run("search", gguf, "--target", bare, *bare_options).err
    warnings = [line for line in err.splitlines() if line.startswith("warning: no ")]
    assert [line.split(":")[1] for line in warnings] == [
        " no controls",
        " no neutral text",
        " no validation probes",
        " no held-out probes",
        " no unseen controls",
    ]
    text = tmp_path / "text.txt"
    text.write_text("a b c d e f")
    options = ("--budget", 1, "-o", "p.bankai", "--text", text)
    assert "warning" not in run("search", gguf, "--target", probe_file, *options).err
    write_patch(Patch.empty(), Path("p.bankai"))
    told = "warning: p.bankai is there: a patch that is found replaces it; give another -o to keep it\n"
    assert told in run("search", gguf, "--target", probe_file, *options).err


def test_a_search_interrupted_before_it_found_anything_writes_nothing(
    gguf: Path, probe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.bankai"
    options = ("--strategy", "greedy", "--budget", "1000000", "-o", out)
    command = [sys.executable, "-m", "bankai", "search", gguf, "--target", probe_file, *options]
    # What is started by a background job ignores Ctrl-C.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **heeding) as process:
        while not process.stderr.readline().startswith("greedy: "):  # until the search has begun
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    # The first kept flips are known after a round of ten trials, a second or so from here.
    written = "nothing" if not out.exists() else str(out)
    assert err.splitlines()[-1].startswith(
        f"interrupted; {written} written; go on with: bankai search --resume "
    )


def test_search_refuses_bad_probes_before_it_starts(refused, gguf: Path, tmp_path: Path) -> None:
    line = {"item": "a", "category": "c", "prompt": "same", "answers": [" 1"]}
    rows = [line | {"id": "a", "split": "target"}, line | {"id": "b", "item": "b", "split": "heldout"}]
    path = tmp_path / "leak.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "same prompt" in refused("search", gguf, "--target", path, "-o", "p.bankai").err
    assert not Path("p.bankai").exists()


def test_audit_names_bad_probes(run, gguf: Path, probe_file: Path, tmp_path: Path) -> None:
    outcome = run("probes", "audit", probe_file, "--model", gguf, "--json")
    assert (outcome.code, outcome.document["errors"]) == (0, 0)
    row = {"id": "a", "item": "a", "category": "c", "split": "target", "prompt": "x", "answers": [" 1\n2"]}
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(row) + "\n")
    outcome = run("probes", "audit", bad, "--model", gguf, "--json")
    assert (outcome.code, outcome.document["errors"]) == (1, 1)
    assert outcome.document["findings"][0]["probe_id"] == "a"
    lines = run("probes", "audit", bad, "--model", gguf).out.splitlines()
    assert ["stop-inside", "error", "1"] in [line.split() for line in lines]
    assert any(line.startswith("error: a: stop-inside: ") for line in lines)
    assert all(len(line) <= 80 for line in lines) and lines[-1] == "1 error, 0 warnings"
