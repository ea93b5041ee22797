"""Search on layers with linear attention: estimates against exact effects, exact effects against flipped bits."""

import numpy as np
import pytest
import torch
from hybrid import FULL, LAYERS, LINEAR, MLP, SHAPES, places
from hypothesis import given, settings
from hypothesis import strategies as st
from wide import CONTROLS, TARGETS, TEXTS

from bankai.evaluation.batches import prepare
from bankai.evaluation.scoring import answer_hidden
from bankai.model import ModelMatrices, flip, load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.patch.binding import digest
from bankai.search import Problem, SearchProbes, SearchSettings, Space, make_patch, run_search
from bankai.search.attribution import stream_effects
from bankai.search.batched import final_hidden
from bankai.search.space import PROJECTIONS
from bankai.search.streams import Stream

TOLERANCE = 1e-4  # of log-probabilities, as in test_batched
PATHS = (*LINEAR, *FULL, *MLP)


class Engine:
    def __init__(self, gguf):
        self.model, self.tokenizer = load(gguf, dense=True)
        self.decoder = Decoder(self.model)
        self.batch = prepare(self.tokenizer, TARGETS[:3]).as_sequences().batches[0]
        self.stream = Stream(self.decoder, self.batch)

    def sums(self, logits):
        """[..., positions, vocabulary] to the log-probability of all answer tokens [...]."""
        log_probs = logits.log_softmax(-1)
        targets = self.batch.targets[:, 0].expand(log_probs.shape[:-1])[..., None]
        return log_probs.gather(-1, targets)[..., 0].sum(-1)

    def estimates(self, granularity="row"):
        found = {}
        stream_effects(
            self.stream,
            self.sums,
            lambda effects: found.setdefault(effects.tensor, []).append(effects.values.sum(0)),
            layers=range(LAYERS),
            projections=PATHS,
            granularity=granularity,
        )
        return {name: torch.cat(values).flatten() for name, values in found.items()}

    @torch.no_grad()
    def exact(self, candidates):
        """Change of the log-probability by each candidate."""
        found = torch.zeros(len(candidates))
        for some, hidden in final_hidden(self.stream, candidates):
            found[some] = self.sums(self.decoder.logits(hidden))
        return found - self.sums(self.decoder.logits(self.stream.final()))


@pytest.fixture(scope="module")
def engine(hybrid_gguf):
    return Engine(hybrid_gguf)


def spearman(one, other):
    ranks = torch.stack([one, other]).argsort(1).argsort(1)
    return float(torch.corrcoef(ranks.float())[0, 1])


def agreement(engine, estimates, path):
    """Spearman of estimated and exact effects of some rows of every layer that has the projection, layers together."""
    rng, found, exact = np.random.default_rng(0), [], []
    for name in (name for name in SHAPES if name.endswith(path)):
        rows = rng.permutation(SHAPES[name][0])[:ROWS]
        found.append(estimates[name][rows])
        exact.append(engine.exact([frozenset([Flip(name, int(row))]) for row in rows]))
    return spearman(torch.cat(found), torch.cat(exact))


ROWS = 24  # of a layer; the small projections have 6
# Least Spearman, about 0.1 below what was measured on this model: 0.83, 0.82, 0.87, 0.99 and 0.90 for linear attention,
# 0.95 to 0.98 for the others. Medians (minima) of ten such models, seeds 0 to 9: 0.90 (0.79), 0.95 (0.77), 0.57 (0.32),
# 0.92 (0.55), 0.91 (0.83); at least 0.94 (0.80) for the others. Followed at their own outputs, rows of in_proj_qkv and
# in_proj_z came to 0.5 to 0.8.
LEAST = {
    "linear_attn.in_proj_qkv": 0.73,
    "linear_attn.in_proj_z": 0.72,
    "linear_attn.in_proj_b": 0.75,
    "linear_attn.in_proj_a": 0.88,
    "linear_attn.out_proj": 0.8,
    **dict.fromkeys((*FULL, *MLP), 0.85),
}


@pytest.fixture(scope="module")
def estimates(engine):
    return engine.estimates()


@pytest.mark.parametrize("path", PATHS)
def test_estimates_rank_rows_as_exact_effects_do(engine, estimates, path):
    assert agreement(engine, estimates, path) > LEAST[path]


@pytest.mark.parametrize("granularity", ["group", "bit"])
def test_parts_add_up_at_the_output(engine, granularity):
    """A row's parts are followed at its output, whatever lies behind: their sum is the slope of negating it."""
    parts, groups = engine.estimates(granularity), engine.estimates("group")
    for name, (rows, columns) in SHAPES.items():
        sums = parts[name].view(rows, columns // 128, -1).sum(2)
        torch.testing.assert_close(sums, groups[name].view(rows, -1), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def check(engine, candidates):
    found = torch.full((len(candidates), len(engine.batch.targets), 300), torch.nan)
    for some, hidden in final_hidden(engine.stream, candidates):
        found[some] = engine.decoder.logits(hidden).log_softmax(-1)
    for candidate, log_probs in zip(candidates, found, strict=True):
        flip(engine.model, candidate)
        exact = engine.model.lm_head(answer_hidden(engine.model, engine.batch)).log_softmax(1)
        flip(engine.model, candidate)
        torch.testing.assert_close(log_probs, exact, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("place", [(), (1,), (1, 77)], ids=["row", "group", "bit"])
@pytest.mark.parametrize("path", LINEAR)
def test_single_flips(engine, path, place):
    names = [name for name in SHAPES if name.endswith(path)]
    check(
        engine, [frozenset([Flip(name, row, *place)]) for name in names for row in (0, SHAPES[name][0] - 1)]
    )


@settings(max_examples=10)
@given(candidates=st.lists(st.frozensets(places(), max_size=6), min_size=1, max_size=4))
def test_any_candidates(engine, candidates):
    check(engine, candidates)


def test_a_whole_search_finds_a_patch_and_leaves_no_trace(hybrid_gguf):
    """In every projection there is; what it says of the patch is what the patched model does."""
    model, tokenizer = load(hybrid_gguf, dense=True)
    tensors, everywhere = ModelMatrices(model), Space(projections=tuple(PROJECTIONS))
    probes = SearchProbes(TARGETS, CONTROLS, texts=TEXTS[:1])
    before = digest(tensors, everywhere.row_flips(Decoder(model)))
    settings = SearchSettings(budget=60, seed=3, space=everywhere)
    *_, finished = run_search(model, tokenizer, probes, settings)
    assert digest(tensors, everywhere.row_flips(Decoder(model))) == before
    assert finished.fitness > 0.1 and any(".linear_attn." in flip.tensor for flip in finished.flips)
    patch = make_patch(model, finished, settings)
    with Problem(model, tokenizer, probes, settings) as problem:
        problem.move_to(patch.flips)
        assert problem.fitness == pytest.approx(finished.fitness, abs=1e-3)
