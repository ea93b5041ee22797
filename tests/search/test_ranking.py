"""Ranked places against a slow computation from the effects on every probe, and drift against exact divergence."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from wide import CONTROLS, SHAPES, TARGETS, TEXTS, name

from bankai.model import flip, load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.patch.places import flip_of
from bankai.search import attribution
from bankai.search.objective import GAINS, LOSSES, Objective
from bankai.search.parts import SearchProbes, join, make_parts, spread
from bankai.search.ranking import probe_effects, rank
from bankai.search.space import Space
from bankai.search.streams import Stream

PENALTY, DRIFT = 2.0, 0.7
STATE = frozenset([Flip(name(1, "up_proj"), 3), Flip(name(0, "down_proj"), 9), Flip(name(2, "o_proj"), 4)])
SPACES = {
    "rows": Space(),
    "every projection": Space(projections=tuple(path.split(".")[1] for path in SHAPES), layers=(1,)),
    "groups": Space(projections=("down_proj", "q_proj"), layers=(0, 2), granularity="group"),
    "bits": Space(projections=("k_proj",), layers=(2,), granularity="bit"),
}


class Case:
    """A model some flips away from its base, so that controls and kept targets have won and lost."""

    def __init__(self, gguf):
        self.model, self.tokenizer = load(gguf, dense=True)
        self.decoder = Decoder(self.model)
        probes = SearchProbes(TARGETS, CONTROLS, texts=TEXTS)
        self.parts, self.order = make_parts(self.decoder, self.tokenizer, probes)
        base = self.read(frozenset())
        # Of this random model nothing is solved; some margins are moved so that some of each kind are.
        for margins in (base.target_margins, base.control_margins):
            margins[::2] += 5
        self.base = base
        flip(self.model, STATE)
        for part in self.parts:
            part.refresh(0)
        self.now = self.read(frozenset())
        for margins in (self.now.target_margins, self.now.control_margins):
            margins[::2] += 5

    def read(self, candidate):
        return join([part.read([candidate]).at(0) for part in self.parts])

    def objective(self, gain="mean", loss="score", drift=0.0):
        domain = torch.arange(len(TARGETS)) % 2
        return Objective(self.base, domain, GAINS[gain], LOSSES[loss], PENALTY, drift)


@pytest.fixture(scope="module")
def case(wide_gguf):
    return Case(wide_gguf)


def hinge(loss, now, base):
    """Loss of one control, as the words of the objective have it."""
    if loss == "score":
        return max(0.0, base - now)
    return max(0.0, base - now) / max(1.0, base) if base > 0 else 0.0


def slow_loss(loss, now, base, effects, preserved):
    """Estimated loss of fitness: readings [k] and effects [k, rows, places] to [rows, places].

    `preserved` is how many controls and solved targets there are.
    """
    total = np.zeros(effects.shape[1:])
    for reading, reference, effect in zip(now.tolist(), base.tolist(), effects.double().numpy(), strict=True):
        moved = np.vectorize(lambda x, r=reading, b=reference: hinge(loss, r + x, b))(effect)
        total += PENALTY * (moved - hinge(loss, reading, reference)) / preserved
    return total


def slow(case, gain, loss, space):
    """(value, gain, loss, consistency) of every flip, and the flips in no order."""
    objective = case.objective(gain, loss)
    weights = objective.target_weights(case.now).double().numpy()[:, None, None]
    kept, found = case.base.target_margins > 0, {}
    for tensor, effects in probe_effects(case.parts, objective, space).items():
        targets, controls = effects[: len(TARGETS)], effects[len(TARGETS) :]
        helped = weights * targets.double().numpy()
        kind = "controls" if loss == "score" else "control_margins"
        preserved = len(controls) + int(kept.sum())
        lost = slow_loss(loss, getattr(case.now, kind), getattr(case.base, kind), controls, preserved)
        if GAINS[gain].reads == LOSSES[loss].reads:
            kind = "targets" if loss == "score" else "target_margins"
            readings = (getattr(which, kind)[kept] for which in (case.now, case.base))
            lost = lost + slow_loss(loss, *readings, targets[kept], preserved)
        info = case.decoder.matrix(tensor).info
        for row in range(effects.shape[1]):
            for place in range(effects.shape[2]):
                at = helped[:, row, place]
                numbers = (at.sum() - lost[row, place], at.sum(), lost[row, place], (at > 0).mean())
                found[flip_of(tensor, row, space.granularity, place, info)] = numbers
    return found


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("gain", ["mean", "boundary"])
def test_estimates_are_gain_less_loss(case, gain, loss, space):
    if space.granularity == "bit" and gain == "boundary":
        space = Space(
            projections=("k_proj",), layers=(2,), granularity="group"
        )  # 32,768 bits once are enough
    expected = slow(case, gain, loss, space)
    ranked = rank(case.decoder, case.parts, case.objective(gain, loss), case.now, space)
    assert len(ranked) == len(expected) == space.size(case.decoder)
    assert {one.flip for one in ranked} == set(expected)
    found = np.array([(one.value, one.gain, one.loss, one.consistency) for one in ranked])
    # Sums over probes in float32.
    np.testing.assert_allclose(found[:, :3], [expected[one.flip][:3] for one in ranked], atol=1e-5, rtol=1e-4)
    # A target that is helped by almost nothing may fall on either side.
    agree = np.isclose(found[:, 3], [expected[one.flip][3] for one in ranked])
    assert agree.mean() > 0.99 and set(np.unique(np.round(found[:, 3] * len(TARGETS), 4))) <= set(
        range(len(TARGETS) + 1)
    )
    assert all(one.drift == 0 for one in ranked)
    assert all(one.value >= other.value for one, other in pairwise(ranked))
    assert found[:, 2].min() < 0 < found[:, 2].max()  # what was lost may come back


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("top", [1, 7, 500])
def test_the_top_are_the_first_of_all(case, space, top):
    objective = case.objective(drift=DRIFT)
    everything = rank(case.decoder, case.parts, objective, case.now, space)
    assert rank(case.decoder, case.parts, objective, case.now, space, top=top) == everything[:top]


@pytest.mark.parametrize("kind", ["groups", "bits"])
def test_blocks_of_rows_do_not_matter(case, kind, monkeypatch):
    objective = case.objective(drift=DRIFT)
    whole = {one.flip: one for one in rank(case.decoder, case.parts, objective, case.now, SPACES[kind])}
    effects = probe_effects(case.parts, objective, SPACES[kind])
    monkeypatch.setattr(attribution, "BLOCK", 100 * 256 * 3)
    found = rank(case.decoder, case.parts, objective, case.now, SPACES[kind])
    assert len(found) == len(whole) and {one.flip for one in found} == set(whole)
    fields = ("value", "gain", "loss", "drift")
    pairs = [
        [[getattr(one, field) for field in fields] for one in (here, whole[here.flip])] for here in found
    ]
    np.testing.assert_allclose(*np.array(pairs).transpose(1, 0, 2), atol=1e-5, rtol=1e-4)
    for tensor, values in probe_effects(case.parts, objective, SPACES[kind]).items():
        torch.testing.assert_close(values, effects[tensor], atol=1e-6, rtol=1e-4)


def test_effects_follow_the_best_alternate(case):
    """Effects on a probe are those on the answer that scores best now; they foresee what flipping does to its score."""
    space = Space(projections=("down_proj",), layers=(2,), granularity="group")
    objective = case.objective()
    effects = probe_effects(case.parts, objective, space)
    assert list(effects) == [name(2, "down_proj")]
    (values,) = effects.values()
    assert values.shape == (len(TARGETS) + len(CONTROLS), 256, 3)
    exact = []
    for row in range(0, 256, 4):
        now = case.read(frozenset([Flip(name(2, "down_proj"), row, 1)]))
        exact.append(torch.cat([now.targets - case.now.targets, now.controls - case.now.controls]))
    exact, estimate = torch.stack(exact, 1), values[:, ::4, 1]
    for probe in range(len(exact)):
        assert torch.corrcoef(torch.stack([exact[probe], estimate[probe]]))[0, 1] > 0.99


def test_effects_on_margins_are_read_where_the_objective_reads_them(case):
    space = Space(projections=("down_proj",), layers=(2,), granularity="group")
    scores = probe_effects(case.parts, case.objective(), space)[name(2, "down_proj")]
    mixed = probe_effects(case.parts, case.objective("boundary", "score"), space)[name(2, "down_proj")]
    margins = probe_effects(case.parts, case.objective("boundary", "margin"), space)[name(2, "down_proj")]
    targets = len(TARGETS)
    torch.testing.assert_close(mixed[targets:], scores[targets:], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(mixed[:targets], margins[:targets], atol=1e-6, rtol=1e-4)
    flips = [frozenset([Flip(name(2, "down_proj"), row, 1)]) for row in range(0, 256, 4)]
    exact = torch.stack([case.read(one).control_margins for one in flips], 1)
    # Of several answers the one that scores best is followed, and another may have the best margin.
    order = spread(CONTROLS)
    alone = [at for at, control in enumerate(order) if len(CONTROLS[control].answers) == 1]
    assert len(alone) == 2
    for at in alone:
        assert torch.corrcoef(torch.stack([exact[at], margins[targets + at, ::4, 1]]))[0, 1] > 0.99


def drawn_tokens(case, seed):
    """Per batch of texts the tokens that `rank` draws, and the batch."""
    generator = torch.Generator().manual_seed(seed)
    for part in case.parts:
        for stream in part.streams[1]:
            with torch.no_grad():
                probabilities = case.decoder.logits(stream.final()).softmax(1)
            yield stream.batch, torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def slow_drift(case, module, seed):
    """Half the mean, over the texts, of the squared effect of each row: [rows]."""
    squares = []
    for batch, tokens in drawn_tokens(case, seed):
        outputs: list[torch.Tensor] = []
        handle = module.register_forward_hook(lambda m, x, y, kept=outputs: kept.append(y.requires_grad_()))
        with torch.enable_grad():
            logits = case.model(batch.ids, use_cache=False).logits[batch.rows, batch.columns]
            log_probs = logits.log_softmax(1).gather(1, tokens[:, None])[:, 0]
            for sequence in range(len(batch.ids)):
                of_text = log_probs[batch.rows == sequence]
                value = of_text.sum() / np.sqrt(len(of_text))
                (gradient,) = torch.autograd.grad(value, outputs[0], retain_graph=True)
                squares.append((-2 * gradient * outputs[0]).detach().sum((0, 1)).square())
        handle.remove()
    assert len(squares) == sum(part.texts for part in case.parts)
    return torch.stack(squares).mean(0) / 2


@pytest.mark.parametrize("path", [path for path in SHAPES if "gate" not in path])
def test_drift_is_half_the_mean_squared_effect(case, path):
    space = Space(projections=(path.split(".")[1],), layers=(1,))
    expected = DRIFT * slow_drift(case, case.model.get_submodule(name(1, path)), seed=5)
    ranked = rank(case.decoder, case.parts, case.objective(drift=DRIFT), case.now, space, seed=5)
    found = torch.tensor([one.drift for one in sorted(ranked, key=lambda one: one.flip)])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-3)
    assert all(one.value == pytest.approx(one.gain - one.loss - one.drift, abs=1e-5) for one in ranked)
    other = rank(case.decoder, case.parts, case.objective(drift=DRIFT), case.now, space, seed=6)
    assert {one.flip: one.drift for one in other} != {one.flip: one.drift for one in ranked}
    assert {one.flip: one.gain for one in other} == {one.flip: one.gain for one in ranked}


def spearman(one, other):
    return float(np.corrcoef(np.argsort(np.argsort(one)), np.argsort(np.argsort(other)))[0, 1])


def test_drift_foresees_the_divergence(wide_gguf):
    """From the base, where a divergence is small and the square of an effect says most."""
    model, tokenizer = load(wide_gguf, dense=True)
    (part, *rest), _ = make_parts(Decoder(model), tokenizer, SearchProbes(TARGETS, texts=TEXTS))
    parts = [part, *rest]
    now = join([some.read([frozenset()]).at(0) for some in parts])
    objective = Objective(
        now, torch.zeros(len(TARGETS), dtype=torch.long), GAINS["mean"], LOSSES["score"], 0.0, 1.0
    )
    space = Space(projections=("down_proj", "o_proj", "v_proj"), granularity="group")
    draws = [rank(parts[0].decoder, parts, objective, now, space, seed=seed) for seed in range(8)]
    estimates = {one.flip: 0.0 for one in draws[0]}
    for ranked in draws:
        for one in ranked:
            estimates[one.flip] += one.drift / len(draws)
    flips = sorted(estimates)[::24]
    exact = join([some.read([frozenset([flip]) for flip in flips]) for some in parts]).drift.mean(1).numpy()
    estimate = np.array([estimates[flip] for flip in flips])
    assert len(flips) > 100 and spearman(estimate, exact) > 0.9
    assert 0.8 < estimate.mean() / exact.mean() < 1.25


def test_without_controls_and_texts(wide_gguf):
    model, tokenizer = load(wide_gguf)
    parts, order = make_parts(Decoder(model), tokenizer, SearchProbes(TARGETS[:2]))
    now = join([part.read([frozenset()]).at(0) for part in parts])
    objective = Objective(
        now, torch.zeros(2, dtype=torch.long), GAINS["mean"], LOSSES["score"], PENALTY, DRIFT
    )
    ranked = rank(parts[0].decoder, parts, objective, now, Space(layers=(2,)), top=9)
    assert len(ranked) == 9 and all(one.loss == one.drift == 0 and one.value == one.gain for one in ranked)
    assert all(one.consistency in (0, 0.5, 1) for one in ranked)


def test_streams_are_left_as_they_were(case):
    before = case.read(frozenset())
    rank(case.decoder, case.parts, case.objective(drift=DRIFT), case.now, SPACES["every projection"], top=3)
    after = case.read(frozenset())
    assert torch.equal(before.targets, after.targets) and torch.equal(before.drift, after.drift)
    fresh = [Stream(case.decoder, batch) for batch in case.parts[0].answers.batches]
    for one, other in zip(case.parts[0].streams[0], fresh, strict=True):
        assert all(torch.equal(*pair) for pair in zip(one.added, other.added, strict=True))
