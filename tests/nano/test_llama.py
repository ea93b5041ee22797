"""nano and a patched nano in stock llama.cpp: the same model, the same answers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sample import PATCH, probe_sample

from bankai.evaluation.engines import LlamaEngine
from bankai.model import load
from bankai.patch import read_patch
from bankai.patching import apply_patch
from bankai.probes.encode import context_ids, encode

pytestmark = pytest.mark.engines
STEP = 4


@pytest.fixture(scope="module", params=["base", "patched"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str | Path:
    if request.param == "base":
        return "nano"
    out = tmp_path_factory.mktemp("patched") / "nano.gguf"
    apply_patch("nano", read_patch(PATCH), out)
    return out


def test_argmax_agrees_on_99_percent_of_positions(source: str | Path) -> None:
    model, tokenizer = load(source, dense=True)
    engine = LlamaEngine(source)
    same = []
    for probe in probe_sample(STEP):
        ids = encode(probe, tokenizer)[0].ids
        with torch.no_grad():
            ours = model(torch.tensor([ids])).logits[0].numpy()
        same.append(ours.argmax(1) == engine.logits(ids).argmax(1))
    agreement = np.concatenate(same)
    assert len(agreement) >= 2000
    assert agreement.mean() >= 0.99, f"{agreement.mean():.4%} of {len(agreement)}"


def test_greedy_text_is_equal_on_95_percent_of_probes(source: str | Path) -> None:
    from llama_cpp import Llama

    model, tokenizer = load(source, dense=True)
    path = LlamaEngine(source).path
    llama = Llama(str(path), n_ctx=256, verbose=False)
    equal = []
    for probe in probe_sample(STEP):
        ids = list(context_ids(probe, tokenizer))
        with torch.no_grad():
            output = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)
        ours = tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)
        reply = llama.create_completion(ids, max_tokens=24, temperature=0.0)
        theirs = reply["choices"][0]["text"]
        equal.append(ours.split("\n")[0] == theirs.split("\n")[0])
    assert len(equal) >= 200
    assert np.mean(equal) >= 0.95, f"{np.mean(equal):.2%} of {len(equal)}"
