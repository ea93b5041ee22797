"""Perplexity and divergence on running text, against numpy in float64."""

import math
import os

import numpy as np
import pytest
import torch

from bankai.errors import ProbeFormatError
from bankai.evaluation.scoring import perplexity
from bankai.evaluation.text import TextReport, measure_text, measure_text_file
from bankai.model import ModelMatrices, flip, load
from bankai.patch import Flip, Patch

TEXT = "the answer to the question is what the number equals " * 3
PATCH = Patch.of([Flip("model.layers.0.mlp.up_proj", row) for row in range(40)])


@pytest.fixture(scope="module")
def tiny(tiny_gguf):
    return load(tiny_gguf, dense=True)


def log_probs(model, ids):
    """Next-token log-probabilities after every token: float64 [tokens, vocabulary]."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double().numpy()
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@pytest.mark.parametrize("window", [7, 16, 10_000])
def test_every_token_is_read_once(tiny, window):
    model, tokenizer = tiny
    ids = tokenizer(TEXT)["input_ids"]
    width, nats, kl, same = min(window, 256), 0.0, 0.0, 0
    changed_nats = 0.0
    for start in range(0, len(ids) - 1, width):
        piece = ids[start : start + width + 1]
        places = np.arange(len(piece) - 1), piece[1:]
        base = log_probs(model, piece[:-1])
        flip(model, PATCH.flips)
        changed = log_probs(model, piece[:-1])
        flip(model, PATCH.flips)
        nats, changed_nats = nats - base[places].sum(), changed_nats - changed[places].sum()
        kl += (np.exp(base) * (base - changed)).sum()
        same += (base.argmax(1) == changed.argmax(1)).sum()
    count = len(ids) - 1
    found = measure_text(model, tokenizer, TEXT, PATCH, window=window, unbound=True)
    assert (found.tokens, found.window) == (count, width)
    assert found.perplexity == pytest.approx(math.exp(nats / count), rel=1e-4)
    assert found.patched == pytest.approx(math.exp(changed_nats / count), rel=1e-4)
    assert found.kl == pytest.approx(kl / count, rel=1e-4) and found.kl > 1e-3
    assert found.agreement == same / count
    alone = measure_text(model, tokenizer, TEXT, window=window)
    assert alone == TextReport(count, width, found.perplexity)


def test_one_window_is_plain_perplexity(tiny):
    assert measure_text(*tiny, TEXT).perplexity == pytest.approx(perplexity(*tiny, TEXT), rel=1e-5)


def test_a_model_without_an_opinion_has_the_vocabulary_as_perplexity(tiny_gguf):
    model, tokenizer = load(tiny_gguf)
    packed = ModelMatrices(model).matrix("lm_head")
    packed.scales.zero_()
    found = measure_text(model, tokenizer, TEXT, PATCH, unbound=True)
    assert found.perplexity == pytest.approx(300, rel=1e-5)
    assert (found.kl, found.agreement) == (0.0, 1.0)


def test_files(tiny_gguf, tiny, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    steps = []
    found = measure_text_file(tiny_gguf, path, window=20, listen=lambda *step: steps.append(step))
    assert found.perplexity == pytest.approx(measure_text(*tiny, TEXT, window=20).perplexity, rel=1e-5)
    assert steps[0] == ("tokens of text", 20, found.tokens) and steps[-1][1:] == (found.tokens, found.tokens)
    path.write_bytes(b"the \xff")
    with pytest.raises(ProbeFormatError, match="byte 4 is not UTF-8"):
        measure_text_file(tiny_gguf, path)
    path.write_text("a")
    with pytest.raises(ProbeFormatError, match="longer"):
        measure_text_file(tiny_gguf, path)


def test_a_text_is_a_regular_file(tiny_gguf, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ProbeFormatError, match="not a regular file; give a text file"):
            measure_text_file(tiny_gguf, path)
