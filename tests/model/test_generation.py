"""The loop that writes text: what it chooses, where it ends, and that texts side by side do not meet."""

import numpy as np
import pytest
import torch

from bankai.errors import UnsupportedModelError
from bankai.model import load
from bankai.model.generation import CachedStep, Writer, stream, write
from bankai.model.sampling import Sampler
from bankai.model.text_stream import TextStream
from bankai.model.tokenizer import end_tokens

PROMPTS = ["the answer is", "what", "the question of the number equals the answer to", "x" * 30]
MOST = 12


@pytest.fixture(scope="module", params=["tiny_gguf", "hybrid_gguf"])
def loaded(request):
    return load(request.getfixturevalue(request.param), dense=True)


def writer(tokenizer, *stops, sampler=None, ends=(), most=MOST):
    return Writer(sampler or Sampler(0.0), TextStream(tokenizer, stops), ends, most)


def written(model, contexts, writers):
    """Tokens and text of each, and why it ended."""
    found = [([], "", None) for _ in contexts]
    for index, one in write(CachedStep(model), contexts, writers):
        tokens, text, _ = found[index]
        found[index] = [*tokens, one.choice.token], text + one.text, one.ending
    return found


@torch.no_grad()
def greedy(model, ids):
    """The same by reading everything again for every token."""
    said = []
    for _ in range(MOST):
        said.append(int(model(torch.tensor([[*ids, *said]]), use_cache=False).logits[0, -1].argmax()))
    return said


def test_greedy_text_takes_the_most_probable_token_side_by_side(loaded):
    model, tokenizer = loaded
    contexts = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    found = written(model, contexts, [writer(tokenizer) for _ in contexts])
    for context, (tokens, text, ending) in zip(contexts, found, strict=True):
        assert tokens == greedy(model, context)
        assert (text, ending) == (tokenizer.decode(tokens, skip_special_tokens=True), "length")


def test_each_text_has_its_own_sampler_and_end(loaded):
    model, tokenizer = loaded
    context = tokenizer(PROMPTS[0])["input_ids"]
    (plain,) = written(model, [context], [writer(tokenizer)])
    settings = [
        {"most": 0},
        {"most": 3},
        {"ends": {plain[0][5], plain[0][4]}},
        {"sampler": Sampler(3.0, seed=1)},
        {"sampler": Sampler(3.0, seed=1)},
        {},
    ]
    found = written(model, [context] * 6, [writer(tokenizer, **some) for some in settings])
    assert found[0] == ([], "", None)
    assert found[1][::2] == (plain[0][:3], "length")
    first = min(plain[0].index(token) for token in settings[2]["ends"])
    assert found[2] == (
        plain[0][: first + 1],
        tokenizer.decode(plain[0][:first], skip_special_tokens=True),
        "end",
    )
    assert found[3] == found[4] != found[5] == plain


def test_a_stop_string_ends_a_text_before_it(loaded):
    model, tokenizer = loaded
    context = tokenizer(PROMPTS[1])["input_ids"]
    ((_, whole, _),) = written(model, [context], [writer(tokenizer)])
    stop = whole[2:4]
    ((_, text, ending),) = written(model, [context], [writer(tokenizer, stop, "no such stop")])
    assert (text, ending) == (whole[: whole.index(stop)], "stop")
    assert "".join(stream(model, tokenizer, context, max_tokens=MOST, stops=(stop,))) == text


def scripted(*tokens):
    """A step that wants these tokens one after the other, and how often it was asked."""
    asked = []

    def step(new):
        asked.append(new)
        logits = np.zeros((1, 300), np.float32)
        logits[0, tokens[len(asked) - 1]] = 1
        return logits

    return step, asked


def test_nothing_is_computed_before_it_is_wanted_nor_after_the_end(loaded):
    _, tokenizer = loaded
    step, asked = scripted(64, 65, 299)
    pieces = write(step, [[5, 6]], [writer(tokenizer, ends=end_tokens(tokenizer))])
    assert asked == []
    assert next(pieces)[1].choice.token == 64 and asked == [[[5, 6]]]
    assert [one.ending for _, one in pieces] == [None, "end"] and asked[1:] == [[(64,)], [(65,)]]


def test_a_text_that_has_no_room_is_not_begun(loaded):
    model, tokenizer = loaded
    assert (
        list(stream(model, tokenizer, [65] * 256)) == [] == list(stream(model, tokenizer, [65], max_tokens=0))
    )
    assert len(written(model, [[65] * 254], [writer(tokenizer, most=2)])[0][0]) == 2


def test_a_character_that_is_cut_off_is_left_out_of_a_stream(loaded, monkeypatch):
    model, tokenizer = loaded
    half = tokenizer("a\U0001f600")["input_ids"][:-1]
    monkeypatch.setattr("bankai.model.generation.CachedStep", lambda _: scripted(*half)[0])
    assert "".join(stream(model, tokenizer, [65], max_tokens=len(half))) == "a"


def test_logits_that_are_not_numbers(tiny_gguf):
    model, tokenizer = load(tiny_gguf)
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    for temperature in (0.0, 1.0):
        with pytest.raises(UnsupportedModelError, match="get the model again"):
            list(stream(model, tokenizer, [65], temperature=temperature))
