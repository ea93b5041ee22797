"""Our logits of nano, base and patched, beside those that llama.cpp gave (see record_llama_logits.py)."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from record_llama_logits import STEP
from sample import PATCH, RECORDED, probe_sample
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.evaluation.engines import MlxEngine
from bankai.model import load, patched
from bankai.patch import read_patch
from bankai.probes.encode import encode


def our_logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> NDArray[np.float32]:
    with torch.no_grad():
        ids = [encode(probe, tokenizer)[0].ids for probe in probe_sample(STEP)]
        return np.concatenate([model(torch.tensor([row])).logits[0].numpy() for row in ids])


def assert_same_model(ours: NDArray[np.float32], theirs: NDArray[np.floating]) -> None:
    """llama.cpp rounds activations to 8 bits, hence a correlation and an agreement instead of equality."""
    theirs = theirs.astype(np.float32)
    assert ours.shape == theirs.shape and len(ours) > 200
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999
    assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.97  # 99 % over thousands: test_llama.py


@pytest.mark.parametrize("state", ["base", "patched"])
def test_logits_agree_with_llama_cpp(state: str) -> None:
    model, tokenizer = load("nano")
    with np.load(RECORDED) as recorded:
        if state == "base":
            assert_same_model(our_logits(model, tokenizer), recorded["base"])
        else:
            with patched(model, read_patch(PATCH)):
                assert_same_model(our_logits(model, tokenizer), recorded["patched"])


def test_logits_agree_with_mlx() -> None:
    model, tokenizer = load("nano")
    engine = MlxEngine("nano")
    texts: Sequence[Sequence[int]] = [encode(probe, tokenizer)[0].ids for probe in probe_sample(STEP)]
    for ids in texts:
        with torch.no_grad():
            ours = model(torch.tensor([ids])).logits[0].numpy()
        # Both compute in float32; sums of 512 products in another order differ in the last digits.
        np.testing.assert_allclose(engine.logits(ids), ours, atol=1e-3)
