"""A chat model's own replies as neutral text, and the drift on those that a search did not read."""

import numpy as np
import pytest
import torch
from builders import build_tiny_gguf, tiny_tokenizer

from bankai.errors import StoreError, UnsupportedModelError
from bankai.evaluation.audit import audit
from bankai.evaluation.engines import TorchEngine
from bankai.evaluation.replies import own_replies
from bankai.jobs.replies import write_replies
from bankai.jobs.search import search_file
from bankai.jobs.task import Task
from bankai.jobs.workbench import Workbench
from bankai.model import ModelMatrices, patched
from bankai.patch import Flip, Patch, bind
from bankai.probes import Probe, ProbeSet, load_probe_set, load_requests
from bankai.probes.encode import encode
from bankai.search import SearchSettings
from bankai.search.parts import windows


@pytest.fixture(scope="module")
def bench():
    return Workbench("nano")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("replies") / "replies.jsonl"
    steps = []
    result = write_replies("nano", out, max_tokens=8, listen=lambda *step: steps.append(step))
    return result, ProbeSet.load(out), steps


def test_every_request_is_asked_and_halves_are_kept_apart(written):
    result, replies, steps = written
    search, report = load_requests()
    assert result.control + result.unseen + result.left_out == len(search) + len(report)
    assert {probe.item for probe in replies.split("control")} <= set(search)
    assert {probe.item for probe in replies.split("unseen")} <= set(report)
    assert min(result.control, result.unseen) > 50
    assert steps[-1] == ("reading replies", len(search) + len(report), len(search) + len(report))


def test_a_reply_is_what_the_model_says(bench, written):
    """Greedy text from its first token on; one that goes on is cut at a word."""
    engine = TorchEngine(bench.model, bench.tokenizer)
    for probe in written[1].probes[:12]:
        (answer,) = encode(probe, bench.tokenizer)
        with torch.no_grad():
            logits = bench.model(torch.tensor([answer.ids[:-1]])).logits[0]
        said = logits[answer.answer_start - 1 :].argmax(1).tolist()
        context = [*answer.context]
        ((_, reply),) = engine.replies([context], [()], 8)
        if probe.stop is None:
            assert reply.whole and reply.text == probe.answers[0]
            assert said == [*answer.answer]
        else:
            assert reply.text.startswith(probe.answers[0] + probe.stop) and not reply.whole


def test_replies_are_neutral_text_that_is_read_from_their_first_token(bench, written):
    replies = written[1].split("control")[:3]
    found = windows(["some text here", *replies], bench.tokenizer)
    assert found[0].answer_start == 1
    assert found[1:] == [encode(probe, bench.tokenizer)[0] for probe in replies]


def test_a_cut_reply_has_its_stop_nowhere_before(bench):
    """Else the stop would end it there; nano says "and" twice here, and what was said is not changed."""
    asked = "Give me a list of chores for two roommates to share."
    engine = TorchEngine(bench.model, bench.tokenizer)
    ((_, probe),) = own_replies(engine, {asked: "control"}, max_tokens=40)
    assert probe.stop == " 118\nThe sum of 59 and" and probe.stop not in probe.answers[0]
    assert audit(None, bench.tokenizer, [probe]) == []
    ((_, reply),) = engine.replies([encode(probe, bench.tokenizer)[0].context], [()], 40)
    assert reply.text.startswith(probe.answers[0] + probe.stop) and not reply.whole


def test_replies_go_into_a_file_that_a_search_knows_by_its_name(tmp_path):
    for name in ("replies", "smol-short", "replies.txt"):
        with pytest.raises(StoreError, match=rf"name the file {name}\.jsonl"):
            write_replies("nano", tmp_path / name)
    assert not [*tmp_path.iterdir()]


def test_drift_is_the_mean_divergence_of_the_replies(bench, written):
    replies = written[1].split("unseen")[:5]
    flips = Patch.of(Flip("model.layers.1.mlp.up_proj", row) for row in range(40))
    patch = bind(flips, ModelMatrices(bench.model))
    wanted = []
    for probe in replies:
        (answer,) = encode(probe, bench.tokenizer)
        columns = slice(answer.answer_start - 1, len(answer.ids) - 1)

        @torch.no_grad()
        def log_probs(ids=answer.ids, columns=columns):
            logits = bench.model(torch.tensor([ids])).logits[0, columns].double().numpy()
            return (
                logits
                - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
                - (logits.max(1, keepdims=True))
            )

        base = log_probs()
        with patched(bench.model, patch):
            other = log_probs()
        wanted.append((np.exp(base) * (base - other)).sum(1).mean())
    assert bench.drift(patch, replies) == pytest.approx(np.mean(wanted), rel=1e-4)
    nothing = bind(Patch.empty(), ModelMatrices(bench.model))
    assert bench.drift(nothing, replies) == pytest.approx(0, abs=1e-6)


def test_a_search_reports_the_drift_on_replies_that_it_did_not_read(tmp_path, written):
    replies = written[1]
    task = Task.of(
        [load_probe_set("elicitable")],
        texts=replies.split("control")[:20],
        unread=replies.split("unseen")[:20],
    ).drawn(12, 12, 0)
    result = search_file("nano", tmp_path / "p.bankai", task, SearchSettings(budget=40, neutral=1500))
    assert result.flips and result.drift is not None and 0 < result.drift < 5


def test_a_reply_of_one_word_that_goes_on_is_left_out(bench):
    engine = TorchEngine(bench.model, bench.tokenizer)
    ((request, probe),) = own_replies(engine, {"Say something.": "control"}, max_tokens=1)
    assert request == "Say something." and (probe is None or isinstance(probe, Probe))
    assert probe is None or probe.stop is None


def test_a_model_without_a_template_is_told_so(tmp_path):
    bare = build_tiny_gguf(tmp_path / "m.gguf", tokenizer=tiny_tokenizer(chat_template=None))
    with pytest.raises(UnsupportedModelError, match="no chat template; give the search a file"):
        write_replies(bare, tmp_path / "r.jsonl")
    assert not (tmp_path / "r.jsonl").exists()
