"""Search on models that are not of 1 bit: estimates against exact effects, whatever the type and the architecture."""

import numpy as np
import pytest
import torch
from builders import LLAMA, build_tiny_gguf
from wide import CONTROLS, TARGETS, WIDE

from bankai.model import load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.probes.encode import encode
from bankai.search.objective import GAINS, LOSSES, Objective
from bankai.search.parts import Part
from bankai.search.ranking import probe_effects
from bankai.search.space import Space

MODELS = {
    "qwen3 in F32": ({}, "F32"),
    "llama in F32": (LLAMA, "F32"),
    "llama in Q4_1": (LLAMA, "Q4_1"),
    "llama in Q8_0": (LLAMA, "Q8_0"),
}
AT_ONCE = 64


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.argsort().argsort(), other.argsort().argsort())[0, 1])


@pytest.mark.parametrize("name", MODELS)
def test_estimates_rank_the_rows_of_the_mlp_as_exact_effects_do(name, tmp_path):
    changes, kind = MODELS[name]
    model, tokenizer = load(build_tiny_gguf(tmp_path / "m.gguf", seed=3, kind=kind, **WIDE | changes))
    decoder, probes = Decoder(model), (*TARGETS, *CONTROLS)
    part = Part(decoder, [encode(probe, tokenizer) for probe in probes], [], [])
    base, domains = part.read([frozenset()]).at(0), torch.zeros(len(probes), dtype=torch.long)
    objective = Objective(base, domains, GAINS["mean"], LOSSES["score"], 0.0)
    for tensor, effects in probe_effects([part], objective, Space(layers=(1,))).items():
        estimated = effects.mean(0)[:, 0].numpy()
        flips = [frozenset([Flip(tensor, row)]) for row in range(len(estimated))]
        read = [part.read(flips[start : start + AT_ONCE]).targets for start in range(0, len(flips), AT_ONCE)]
        exact = (torch.cat(read) - base.targets).mean(1).numpy()
        assert spearman(estimated, exact) >= 0.85, tensor
