"""Scores and margins against a slow direct computation, and *solved* against greedy generation."""

import math

import numpy as np
import pytest
import torch
from builders import build_tiny_gguf
from hybrid import HYBRID
from transformers import GenerationConfig

from bankai.errors import UnsupportedModelError
from bankai.evaluation.batches import BATCH_TOKENS, prepare, prepare_encoded
from bankai.evaluation.scoring import ProbeScore, perplexity, score, score_probes, score_tensors, token_scores
from bankai.model import load
from bankai.probes import Message, Probe
from bankai.probes.encode import EncodedAnswer, encode


@pytest.fixture(scope="module", params=["qwen3", "tied"])
def loaded(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "tiny.gguf"
    return load(build_tiny_gguf(path, seed=4, tie_word_embeddings=request.param == "tied"), dense=True)


def probe(prompt, answers, **changes):
    return Probe(id="a", item="a", category="c", split="target", prompt=prompt, answers=answers, **changes)


def mixed_probes():
    return [
        probe("the answer is", (" 6",)),
        probe(
            "what number equals the question of the answer to the number",
            (" seven", " 7", " the seventh one"),
        ),
        probe("a", ("b",), stop="."),
        probe(None, ("ok",), messages=(Message("user", "what is the answer"),), prefix="It is "),
        *(probe("the " * n, (" " + "x" * n,)) for n in range(1, 9)),
    ]


def direct(model, answer):
    """One sequence, all logits, float64 log-softmax."""
    with torch.no_grad():
        logits = model(torch.tensor([answer.ids[:-1]])).logits[0].double().numpy()
    total, margin = 0.0, math.inf
    for position in range(answer.answer_start, len(answer.ids)):
        row, tokens = logits[position - 1], [answer.ids[position]]
        if position == len(answer.ids) - 1:
            tokens += answer.ends
        total += row[tokens].max() - np.logaddexp.reduce(row)
        margin = min(margin, row[tokens].max() - np.delete(row, tokens).max())
    return total, margin


def test_agrees_with_direct_computation(loaded):
    model, tokenizer = loaded
    probes = mixed_probes()
    for found, item in zip(score_probes(model, tokenizer, probes), probes, strict=True):
        expected = [direct(model, answer) for answer in encode(item, tokenizer)]
        # float32 sums over at most 60 tokens of 300 logits
        assert found.score == pytest.approx(max(total for total, _ in expected), abs=1e-4)
        assert found.margin == pytest.approx(max(margin for _, margin in expected), abs=1e-4)
        assert found.solved == (found.margin > 0)


@pytest.mark.parametrize("batch_tokens", [1, 40, 200, 10_000])
def test_batching_does_not_matter(loaded, batch_tokens):
    model, tokenizer = loaded
    probes = mixed_probes()
    alone = [score_probes(model, tokenizer, [item])[0] for item in probes]
    together = score_probes(model, tokenizer, probes, batch_tokens=batch_tokens)
    for one, other in zip(alone, together, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5, rel=1e-5)
        assert one.margin == pytest.approx(other.margin, abs=1e-5, rel=1e-5)


def test_batches_keep_their_limit_and_hold_every_answer_once(loaded):
    prepared = prepare(loaded[1], mixed_probes(), batch_tokens=60)
    assert len(prepared.batches) > 1
    assert all(len(batch.ids) == 1 or batch.ids.numel() <= 60 for batch in prepared.batches)
    owners = [set(batch.owners.tolist()) for batch in prepared.batches]
    assert sorted(owner for some in owners for owner in some) == list(range(len(prepared.probe_of)))


def test_a_model_with_a_state_reads_a_tree_in_batches_of_sequences(tmp_path):
    """A long beginning that many probes share would else be computed for all of them at once."""
    model, tokenizer = load(build_tiny_gguf(tmp_path / "hybrid.gguf", seed=4, **HYBRID), dense=True)
    shared = "the answer is the question and the number " * 4
    probes = [probe(f"{shared}{word}", (f" {word}", f" {word}s")) for word in "abcdefghijklmnopqrst"]
    prepared = prepare(tokenizer, probes)
    (tree,) = prepared.batches
    assert tree.sight is not None and tree.padded(tree.answers()) > 2 * BATCH_TOKENS
    read = []
    model.model.embed_tokens.register_forward_hook(
        lambda _, __, embedded: read.append(embedded[..., 0].numel())
    )
    found = score(model, prepared)
    assert len(read) > 2 and max(read) <= BATCH_TOKENS
    answers = [encode(one, tokenizer) for one in probes]
    for one, alternates in zip(found, answers, strict=True):
        best = np.max([direct(model, answer) for answer in alternates], axis=0)
        assert (one.score, one.margin) == pytest.approx(tuple(best), abs=1e-4)


def test_prepared_probes_can_be_scored_again(loaded):
    model, tokenizer = loaded
    prepared = prepare(tokenizer, mixed_probes())
    assert score(model, prepared) == score(model, prepared)
    assert score(model, prepare(tokenizer, [])) == []


def greedy(model, ids, count):
    """Tokens, none of them taken for an end."""
    context = torch.tensor([ids])
    config = GenerationConfig(max_new_tokens=count, do_sample=False)
    out = model.generate(context, attention_mask=torch.ones_like(context), generation_config=config)
    return out[0, len(ids) :].tolist()


def test_solved_agrees_with_greedy_generation(loaded):
    model, _ = loaded
    rng = np.random.default_rng(1)
    encoded, expected = [], []
    for _ in range(40):
        context = rng.integers(0, 297, rng.integers(1, 20)).tolist()
        answer = greedy(model, context, int(rng.integers(1, 5)))
        if rng.random() < 0.5:  # corrupt one token
            place = rng.integers(len(answer))
            answer[place] = (answer[place] + int(rng.integers(1, 296))) % 297
        encoded.append([EncodedAnswer((*context, *answer), len(context))])
        expected.append(greedy(model, context, len(answer)) == answer)
    found = score(model, prepare_encoded(encoded))
    assert [result.solved for result in found] == expected
    assert 10 < sum(expected) < 30


def test_any_end_of_the_turn_solves(loaded):
    """Solved exactly when greedy decoding emits the answer and then one of the ends."""
    model, _ = loaded
    rng = np.random.default_rng(2)
    encoded, expected = [], []
    for _ in range(30):
        context = rng.integers(0, 297, rng.integers(1, 20)).tolist()
        *answer, last = greedy(model, context, 3)
        ends = rng.choice(300, 4, replace=False).tolist()
        if rng.random() < 0.5:
            ends[rng.integers(4)] = last
        encoded.append([EncodedAnswer((*context, *answer, ends[0]), len(context), tuple(ends[1:]))])
        expected.append(last in ends)
    assert [found.solved for found in score(model, prepare_encoded(encoded))] == expected
    assert 5 < sum(expected) < 25


@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_the_best_end_counts_and_more_ends_cost_no_more_sequences(loaded, batch_tokens):
    model, _ = loaded
    answers = [EncodedAnswer((260, 269, 264, end), 2) for end in (297, 298, 299)]
    several = EncodedAnswer((260, 269, 264, 297), 2, (298, 299))
    prepared = prepare_encoded([[several], *([one] for one in answers)], batch_tokens=batch_tokens)
    assert len(prepared.probe_of) == 4
    best, *each = score(model, prepared)
    assert best.score == pytest.approx(max(one.score for one in each), abs=1e-5)
    logits = torch.tensor([[3.0, 1.0, 2.5, 0.0], [0.0, 5.0, 7.0, 7.0]])
    log_probs, margins = token_scores(logits, torch.tensor([[0, 2, 0], [1, 1, 1]]))
    assert margins.tolist() == [2.0, -2.0]
    torch.testing.assert_close(log_probs, logits.log_softmax(1)[[0, 1], [0, 1]])


def test_one_of_equal_ends_gets_the_whole_gradient():
    logits = torch.tensor([[3.0, 3.0, 1.0]], requires_grad=True)
    log_probs, _ = token_scores(logits, torch.tensor([[2, 2, 2]]))
    (found,) = torch.autograd.grad(log_probs.sum(), logits)
    (expected,) = torch.autograd.grad(logits.log_softmax(1)[0, 2], logits)
    torch.testing.assert_close(found, expected)


def test_any_alternate_solves(loaded):
    model, _ = loaded
    right = greedy(model, [260, 269], 2)
    wrong = [(token + 1) % 297 for token in right]
    good, bad = EncodedAnswer((260, 269, *right), 2), EncodedAnswer((260, 269, *wrong), 2)
    both, only_bad = score(model, prepare_encoded([[bad, good], [bad]]))
    assert both.solved and not only_bad.solved
    assert both.margin == pytest.approx(score(model, prepare_encoded([[good]]))[0].margin, abs=1e-5)


def test_the_stop_decides(loaded):
    model, _ = loaded
    first, second = greedy(model, [260, 269], 2)
    assert second != 10
    stopped = score(model, prepare_encoded([[EncodedAnswer((260, 269, first, 10), 2)]]))[0]
    assert not stopped.solved


def test_scores_carry_the_gradient_of_what_they_measure(loaded):
    model, tokenizer = loaded
    prepared = prepare(tokenizer, mixed_probes(), batch_tokens=80)
    layer = model.model.layers[0].mlp.down_proj
    nudge = torch.zeros(128, requires_grad=True)
    handle = layer.register_forward_hook(lambda module, inputs, output: output + nudge)
    scores, _ = score_tensors(model, prepared)
    (gradient,) = torch.autograd.grad(scores.sum(), nudge)
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        change = []
        for sign in (1, -1):
            nudge.copy_(sign * step)
            change.append(float(score_tensors(model, prepared)[0].double().sum()))
    handle.remove()
    # Central difference along the gradient: error of third order in the step.
    assert (change[0] - change[1]) / 2e-2 == pytest.approx(float(gradient.norm()), rel=2e-2)


def test_perplexity_is_that_of_the_mean_log_probability(loaded):
    model, tokenizer = loaded
    text = "the answer is the number"
    ids = tuple(tokenizer(text)["input_ids"])
    total, _ = direct(model, EncodedAnswer(ids, 1))
    assert perplexity(model, tokenizer, text) == pytest.approx(math.exp(-total / (len(ids) - 1)), rel=1e-5)
    with pytest.raises(ValueError, match="two tokens"):
        perplexity(model, tokenizer, "a")


def test_solved_is_strict():
    assert not ProbeScore(-1.0, 0.0).solved and ProbeScore(-9.0, 1e-6).solved


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_is_a_number(score):
    with pytest.raises(UnsupportedModelError, match="no numbers"):
        ProbeScore(score, 0.0)
