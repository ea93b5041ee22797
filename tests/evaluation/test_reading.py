"""Answers token by token, and greedy replies, against scoring and against each other's engines."""

import pytest
import torch

from bankai.errors import UnsupportedModelError
from bankai.evaluation import TorchEngine
from bankai.evaluation.reading import REPLY_BATCH, Reader, Trace, open_reader
from bankai.model.generation import stream
from bankai.probes import Message, Probe
from bankai.probes.encode import context_ids, encode


@pytest.fixture(scope="module")
def probes():
    """More than a batch, of many lengths, some chat."""
    plain = [
        Probe(id=f"p{n}", item=f"p{n}", category="plain", split="heldout", prompt="the answer is " * n + f"{n} is",
              answers=(f" {n} ok",))
        for n in range(1, REPLY_BATCH + 4)
    ]  # fmt: skip
    chat = (Message("user", "what"),)
    return [*plain, Probe(id="c", item="c", category="chat", split="heldout", answers=("6",), messages=chat)]


def traces(reader, probes):
    found = dict(reader.traces([encode(probe, reader.tokenizer)[0] for probe in probes]))
    return [found[index] for index in range(len(probes))]


def replies(reader, probes, max_tokens=8):
    contexts = [context_ids(probe, reader.tokenizer) for probe in probes]
    found = dict(reader.replies(contexts, [probe.stop or () for probe in probes], max_tokens))
    return [found[index] for index in range(len(probes))]


@pytest.fixture(scope="module")
def reader(tiny_gguf):
    return open_reader("torch", tiny_gguf)


def test_padding_on_the_left_reaches_no_state(hybrid_gguf, probes):
    """Replies in one batch, and each alone, of a model that keeps a state instead of keys and values."""
    reader = open_reader("torch", hybrid_gguf)
    some = [*probes[:3], probes[-1]]
    assert replies(reader, some) == [replies(reader, [probe])[0] for probe in some]


def test_traces_add_up_to_scores(reader, probes):
    for trace, score in zip(traces(reader, probes), reader.engine.score(probes), strict=True):
        # The same float32 logits, added in another order.
        assert trace.score == pytest.approx(score.score, abs=1e-4)
        assert min(trace.margins) == pytest.approx(score.margin, abs=1e-4)
        assert trace.solved == score.solved


def test_batched_replies_are_those_of_one_stream(reader, probes):
    for probe, reply in zip(probes, replies(reader, probes), strict=True):
        ids = list(context_ids(probe, reader.tokenizer))
        said = "".join(stream(reader.engine.model, reader.tokenizer, ids, max_tokens=8))
        # A stream holds half characters back and leaves special tokens out; a reply ends at its stop.
        special = any(token in reply.text for token in reader.tokenizer.all_special_tokens)
        assert special or reply.text.startswith(said.split(probe.stop)[0] if probe.stop else said)


ENGINES = ["mlx", pytest.param("llama", marks=pytest.mark.engines)]


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_agree(engine, tiny_gguf, reader, probes):
    other = open_reader(engine, tiny_gguf)
    assert type(other) is Reader and other.longest == reader.longest == 256
    # MLX computes the same in another order; llama.cpp rounds activations to 8 bits.
    tolerance = 1e-3 if engine == "mlx" else 0.5
    for mine, its in zip(traces(reader, probes), traces(other, probes), strict=True):
        assert its.log_probs == pytest.approx(mine.log_probs, abs=tolerance)
        assert its.margins == pytest.approx(mine.margins, abs=tolerance)
    if engine == "mlx":
        assert replies(other, probes[:3]) == replies(reader, probes[:3])
    else:
        assert all(reply.whole or reply.text for reply in replies(other, probes[:3]))


def test_replies_end_at_the_stop_and_at_the_end_of_turn(reader):
    tokenizer, end = reader.tokenizer, reader.tokenizer.eos_token_id
    said = [*tokenizer(" 6\n7")["input_ids"]]
    assert reader._cut(said, "\n") == (" 6", True)
    assert reader._cut(said, "!") == (" 6\n7", False)
    assert reader._cut([*said, end, 5], "!") == (" 6\n7", True)
    assert reader._cut([*said, end, 5], "<|im_end|>") == (" 6\n7", True)
    assert reader._cut([end], "\n") == ("", True)


def test_replies_keep_to_the_limits(reader, probes):
    context = [65] * 254
    (reply,) = (found for _, found in reader.replies([context], ["no such stop"], 8))
    (two,) = (found for _, found in reader.replies([context[:200]], ["no such stop"], 2))
    assert not reply.whole and not two.whole
    assert 0 < len(reply.text) <= 2 * max(map(len, reader.tokenizer.get_vocab())) and two.text
    assert [ids for ids in reader.replies([[65] * 256], ["no such stop"], 8)] == [(0, ("", False))]
    assert all(reply == ("", False) for reply in replies(reader, probes, max_tokens=0))


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
    engine = TorchEngine(tiny_gguf)
    with torch.no_grad():
        engine.model.model.norm.weight.fill_(torch.nan)
    reader = open_reader("torch", tiny_gguf)
    reader.engine = engine
    with pytest.raises(UnsupportedModelError):
        traces(reader, probes)
