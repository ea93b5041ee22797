"""Answers token by token, and greedy replies, against scoring and of engines against each other."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from bankai.errors import UnsupportedModelError
from bankai.evaluation import Engine, TorchEngine, Trace, open_engine, score_probes
from bankai.model import load
from bankai.model.generation import stream
from bankai.probes import Message, Probe
from bankai.probes.encode import context_ids, encode


@pytest.fixture(scope="module")
def probes():
    """More than a batch, of many lengths, some chat."""
    plain = [
        Probe(id=f"p{n}", item=f"p{n}", category="plain", split="heldout", prompt="the answer is " * n + f"{n} is",
              answers=(f" {n} ok",))
        for n in range(1, TorchEngine.batch + 4)
    ]  # fmt: skip
    chat = (Message("user", "what"),)
    return [*plain, Probe(id="c", item="c", category="chat", split="heldout", answers=("6",), messages=chat)]


def traces(engine, probes):
    found = dict(engine.traces([encode(probe, engine.tokenizer)[0] for probe in probes]))
    return [found[index] for index in range(len(probes))]


def replies(engine, probes, max_tokens=8):
    contexts = [context_ids(probe, engine.tokenizer) for probe in probes]
    found = dict(
        engine.replies(
            contexts, [() if probe.stop is None else (probe.stop,) for probe in probes], max_tokens
        )
    )
    return [found[index] for index in range(len(probes))]


@pytest.fixture(scope="module")
def torch_engine(tiny_gguf):
    return open_engine("torch", tiny_gguf)


def test_padding_on_the_left_reaches_no_state(hybrid_gguf, probes):
    """Replies in one batch, and each alone, of a model that keeps a state instead of keys and values."""
    engine = open_engine("torch", hybrid_gguf)
    some = [*probes[:3], probes[-1]]
    assert replies(engine, some) == [replies(engine, [probe])[0] for probe in some]


def test_traces_add_up_to_scores(torch_engine, probes):
    scores = score_probes(torch_engine.model, torch_engine.tokenizer, probes)
    for trace, score in zip(traces(torch_engine, probes), scores, strict=True):
        # The same float32 logits, added in another order.
        assert trace.score == pytest.approx(score.score, abs=1e-4)
        assert trace.margin == pytest.approx(score.margin, abs=1e-4)
        assert trace.solved == score.solved


@pytest.mark.parametrize("engine", ["torch", "mlx"])
def test_a_score_is_the_best_over_the_answers(engine, tiny_gguf, torch_engine):
    several = [
        Probe(id=f"{n}", item=f"{n}", category="c", split="heldout", prompt=f"the {n}", answers=answers)
        for n, answers in enumerate([(" 6", " ok ok", "7"), (" what",), (" is", " the")])
    ]
    opened = open_engine(engine, tiny_gguf)
    wanted = score_probes(torch_engine.model, torch_engine.tokenizer, several)
    for found, score in zip(opened.score(several), wanted, strict=True):
        assert found.score == pytest.approx(score.score, abs=1e-4)
        assert found.margin == pytest.approx(score.margin, abs=1e-4)


def test_batched_replies_are_those_of_one_stream(torch_engine, probes):
    tokenizer = torch_engine.tokenizer
    for probe, reply in zip(probes, replies(torch_engine, probes), strict=True):
        ids = context_ids(probe, tokenizer)
        said = "".join(stream(torch_engine.model, tokenizer, ids, max_tokens=8))
        # A stream holds half characters back and leaves special tokens out; a reply ends at its stop.
        special = any(token in reply.text for token in tokenizer.all_special_tokens)
        assert special or reply.text.startswith(said.split(probe.stop)[0] if probe.stop else said)


ENGINES = ["mlx", pytest.param("llama", marks=pytest.mark.engines)]


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_agree(engine, tiny_gguf, torch_engine, probes):
    other = open_engine(engine, tiny_gguf)
    assert other.context == torch_engine.context == 256
    # MLX computes the same in another order; llama.cpp rounds activations to 8 bits.
    tolerance = 1e-3 if engine == "mlx" else 0.5
    for mine, its in zip(traces(torch_engine, probes), traces(other, probes), strict=True):
        assert its.log_probs == pytest.approx(mine.log_probs, abs=tolerance)
        assert its.margins == pytest.approx(mine.margins, abs=tolerance)
    if engine == "mlx":
        assert replies(other, probes[:3]) == replies(torch_engine, probes[:3])
    else:
        assert all(reply.whole or reply.text for reply in replies(other, probes[:3]))


@pytest.mark.engines
def test_llama_cpp_keeps_what_it_read(tiny_gguf):
    """Token by token as at once, also when another text comes in between and when the context grows."""
    engine = open_engine("llama", tiny_gguf)
    text = [*range(60, 90), *range(100, 160)] * 8
    step = engine.step()
    cuts = [0, 30, 31, 32, 90, 91, len(text) - 1, len(text)]
    found = []
    for first, last in pairwise(cuts):
        found += step([text[first:last]])
        if last == 90:
            engine.logits([65, 66, 67] * 30)  # as long as the text
    assert len(text) > 512
    for last, logits in zip(cuts[1:], found, strict=True):
        # Products of one token and of several are summed in another order.
        np.testing.assert_allclose(logits, engine.logits(text[:last])[-1], atol=0.05)


@pytest.mark.engines
def test_replies_of_llama_cpp_are_those_of_reading_anew(tiny_gguf, probes, monkeypatch):
    engine = open_engine("llama", tiny_gguf)
    kept = replies(engine, probes[:6])
    monkeypatch.setattr(type(engine), "step", Engine.step)
    assert replies(engine, probes[:6]) == kept and any(reply.text for reply in kept)


class Says(Engine):
    """Says the tokens that it is given, after a prompt of one token."""

    context = 256

    def __init__(self, tokenizer, tokens):
        self.tokenizer, self.tokens = tokenizer, tokens

    def logits(self, ids):
        logits = np.zeros((len(ids), len(self.tokenizer)), np.float32)
        logits[-1, self.tokens[len(ids) - 1]] = 1
        return logits


def test_replies_end_at_the_stop_and_at_the_end_of_turn(torch_engine):
    tokenizer = torch_engine.tokenizer
    end, start = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|im_start|>"))
    said = tokenizer(" 6\n7")["input_ids"]

    def reply(tokens, *stops):
        ((_, found),) = Says(tokenizer, tokens).replies([[65]], [stops], len(tokens))
        return found

    assert reply(said, "\n") == reply(said, "7", "\n") == (" 6", True)
    assert reply(said, "!") == (" 6\n7", False)
    assert reply([*said, end, 5], "!") == (" 6\n7", True)
    assert reply([*said, end, 5], "<|im_end|>") == (" 6\n7", True)
    assert reply([*said, start, 5], "<|im_start|>") == (" 6\n7", True)
    assert reply([*said, start], "!") == (" 6\n7<|im_start|>", False)
    assert reply([end], "\n") == ("", True)


def test_replies_keep_to_the_limits(torch_engine, probes):
    context, stops = [65] * 254, [("no such stop",)]
    (reply,) = (found for _, found in torch_engine.replies([context], stops, 8))
    (two,) = (found for _, found in torch_engine.replies([context[:200]], stops, 2))
    assert not reply.whole and not two.whole
    assert 0 < len(reply.text) <= 2 * max(map(len, torch_engine.tokenizer.get_vocab())) and two.text
    assert list(torch_engine.replies([[65] * 256], stops, 8)) == [(0, ("", False))]
    assert all(reply == ("", False) for reply in replies(torch_engine, probes, max_tokens=0))


def test_agreement_ends_at_the_first_wrong_token():
    assert Trace((-1.0, -1.0, -1.0), (2.0, -1.0, 3.0)).agreed == 1
    assert Trace((-1.0, -1.0), (2.0, 0.0)).agreed == 1
    whole = Trace((-1.0, -2.0), (2.0, 1.0))
    assert whole.agreed == 2 and whole.solved and whole.score == -3.0


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_logits_that_are_not_numbers(value):
    with pytest.raises(UnsupportedModelError, match="get the model again"):
        Trace((-1.0, value), (1.0, 1.0))


def test_a_broken_model_is_told(tiny_gguf, probes):
    engine = TorchEngine(*load(tiny_gguf))
    with torch.no_grad():
        engine.model.model.norm.weight.fill_(torch.nan)
    for ask in (traces, replies):
        with pytest.raises(UnsupportedModelError, match="get the model again"):
            ask(engine, probes)
