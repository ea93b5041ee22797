"""Fitness on hand-made readings."""

import math

import pytest
import torch

from bankai.search import SearchSettings
from bankai.search.objective import GAINS, LOSSES, STEEPNESS, Objective, Readings


def readings(targets=(), controls=(), drift=(), target_margins=None, control_margins=None):
    """Margins follow the scores unless given."""
    columns = (
        targets,
        targets if target_margins is None else target_margins,
        controls,
        controls if control_margins is None else control_margins,
        drift,
    )
    return Readings(*(torch.tensor(column, dtype=torch.float64) for column in columns))


def objective(base, domain=None, gain="mean", loss="score", penalty=2.0, drift=0.0):
    domain = [0] * base.counts[0] if domain is None else domain
    return Objective(base, torch.tensor(domain), GAINS[gain], LOSSES[loss], penalty, drift)


def sigmoid(margin):
    return 1 / (1 + math.exp(-margin / STEEPNESS))


BASE = readings([-1.0, -3.0, -2.0], [-0.5, -0.5], [0.0, 0.0], [-2.0, 1.0, -0.5], [4.0, 0.5])


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_base_is_worth_nothing(gain, loss):
    assert objective(BASE, [0, 1, 0], gain, loss, drift=3.0)(BASE) == 0


def test_mean_gain_less_penalty_on_lost_controls_and_drift():
    fitness = objective(readings([-1.0, -3.0], [-0.5, -0.5], [0.0, 0.0]), drift=10.0)
    # Targets +0.5 and +1.5: mean 1. Controls -0.2 and +4: only the loss counts, mean 0.1. Drift: mean 0.02.
    now = readings([-0.5, -1.5], [-0.7, 3.5], [0.01, 0.03])
    assert float(fitness(now)) == pytest.approx(1 - 2 * 0.1 - 10 * 0.02)


def test_one_control_or_one_solved_target_counts():
    fitness = objective(readings([-1.0], [-1.0], target_margins=[-3.0]), penalty=3.0)
    assert float(fitness(readings([-1.0], [-1.5]))) == pytest.approx(-3 * 0.5)
    fitness = objective(readings([-1.0], target_margins=[3.0]), penalty=3.0)
    assert float(fitness(readings([-1.25]))) == pytest.approx(-0.25 - 3 * 0.25)
    fitness = objective(readings([-1.0], [-1.0], target_margins=[3.0]), penalty=3.0)
    assert float(fitness(readings([-1.25], [-1.5]))) == pytest.approx(-0.25 - 3 * (0.25 + 0.5) / 2)


def test_each_domain_weighs_the_same():
    base = readings([0.0, 0.0, 0.0, 0.0])
    now = readings([1.0, 2.0, 3.0, -4.0], target_margins=[-9.0] * 4)
    assert float(objective(base)(now)) == pytest.approx(0.5)
    assert float(objective(base, [0, 0, 0, 1])(now)) == pytest.approx((2 - 4) / 2)
    assert float(objective(base, [0, 7, 7, 3])(now)) == pytest.approx((1 + 2.5 - 4) / 3)


def test_worst_is_the_domain_that_gained_least():
    base = readings([-1.0, -1.0, -1.0, -1.0])
    now = readings([0.0, 2.0, -1.5, 0.7])
    assert float(objective(base, [0, 0, 1, 1], "worst")(now)) == pytest.approx(0.6)
    assert float(objective(base, [0, 1, 2, 3], "worst")(now)) == pytest.approx(-0.5)
    assert float(objective(base, gain="worst")(now)) == pytest.approx((1 + 3 - 0.5 + 1.7) / 4)


def test_boundary_reads_margins_and_counts_those_near_it():
    base = readings([0.0] * 3, target_margins=[-1.0, -30.0, 30.0])
    now = readings([9.0] * 3, target_margins=[1.0, -28.0, 32.0])
    expected = (sigmoid(1) - sigmoid(-1) + sigmoid(-28) - sigmoid(-30) + sigmoid(32) - sigmoid(30)) / 3
    found = float(objective(base, gain="boundary")(now))
    assert found == pytest.approx(expected)
    assert found == pytest.approx((sigmoid(1) - sigmoid(-1)) / 3, abs=1e-5)


@pytest.mark.parametrize(
    ("base", "now", "lost"),
    [
        (4.0, 4.0, 0.0),
        (4.0, 3.0, 0.25),
        (4.0, 0.0, 1.0),
        (4.0, -4.0, 2.0),
        (4.0, 5.0, 0.0),
        (0.5, 0.25, 0.25),  # below a margin of 1 it is the nats that count
        (0.5, -0.5, 1.0),
        (0.5, 0.75, 0.0),
        (0.5, 9.0, 0.0),
        (0.0, -5.0, 0.0),  # was not solved
        (-2.0, -5.0, 0.0),
        (-2.0, 5.0, 0.0),
    ],
)
def test_margin_loss_is_the_share_of_a_solved_margin(base, now, lost):
    found = LOSSES["margin"].value(torch.tensor([now]), torch.tensor([base]))
    assert found.tolist() == pytest.approx([lost])


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_never_a_gain(loss):
    now, base = torch.meshgrid(torch.linspace(-3, 3, 61), torch.linspace(-3, 3, 61), indexing="ij")
    found = LOSSES[loss].value(now, base)
    assert (found >= 0).all() and not found[now >= base].any()
    assert (found.diff(dim=0) <= 1e-6).all()  # a better reading never costs more


@pytest.mark.parametrize("loss", LOSSES)
def test_solved_targets_are_preserved_like_controls(loss):
    base = readings([-1.0, -0.2, -0.3], [-1.0], target_margins=[-1.0, 4.0, 0.5], control_margins=[2.0])
    now = readings([-1.5, -0.7, -0.1], [-1.0], target_margins=[-2.0, 3.0, 0.75], control_margins=[2.0])
    fitness = objective(base, loss=loss, penalty=3.0)
    assert fitness.kept.tolist() == [False, True, True]
    lost = {"score": 0.5 / 3, "margin": 0.25 / 3}[loss]  # one control, two solved targets
    assert float(fitness(now)) == pytest.approx((-0.5 - 0.5 + 0.2) / 3 - 3 * lost)


def test_margin_loss_reads_margins_of_controls():
    base = readings([-1.0], [-0.5, -0.5], control_margins=[4.0, 2.0])
    now = readings([-1.0], [-9.0, -9.0], control_margins=[3.0, 2.5])
    assert float(objective(base, loss="margin")(now)) == pytest.approx(-2 * 0.25 / 2)


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("loss", LOSSES)
def test_candidates_are_measured_together(gain, loss):
    generator = torch.Generator().manual_seed(1)
    fields = [BASE.targets, BASE.target_margins, BASE.controls, BASE.control_margins, BASE.drift]
    now = Readings(*(torch.randn(2, 5, len(field), generator=generator).double() for field in fields))
    fitness = objective(BASE, [1, 0, 1], gain, loss, drift=0.5)
    together = fitness(now)
    assert together.shape == (2, 5)
    for first in range(2):
        for second in range(5):
            assert together[first, second] == pytest.approx(float(fitness(now.at(first).at(second))))


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_first_few_are_compared_with_their_own_base(gain, loss):
    now = readings([0.0, -1.0, 5.0], [-1.0, -9.0], [0.1, 9.0], [1.0, 0.2, 9.0], [1.0, -9.0])
    fitness = objective(BASE, [0, 1, 0], gain, loss, drift=0.5)
    few = objective(BASE.first(2, 1, 1), [0, 1], gain, loss, drift=0.5)
    assert now.first(2, 1, 1).counts == (2, 1, 1)
    assert float(fitness(now.first(2, 1, 1))) == float(few(now.first(2, 1, 1))) != float(fitness(now))
    none = fitness(now.first(3, 0, 0))
    assert float(none) == pytest.approx(
        float(objective(BASE.first(3, 0, 0), [0, 1, 0], gain, loss)(now.first(3, 0, 0)))
    )


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("loss", LOSSES)
def test_some_are_compared_with_their_own_base(gain, loss):
    now = readings([0.0, -1.0, 5.0], [-1.0, -9.0], [0.1, 9.0], [1.0, 0.2, 9.0], [1.0, -9.0])
    fitness = objective(BASE, [0, 1, 5], gain, loss, drift=0.5)
    some = fitness.some([2, 0], [1], [0])
    base = readings([-2.0, -1.0], [-0.5], [0.0], [-0.5, -2.0], [0.5])
    few = objective(base, [5, 0], gain, loss, drift=0.5)
    assert float(some(now.some([2, 0], [1], [0]))) == float(few(now.some([2, 0], [1], [0]))) != 0
    assert some.base.counts == (2, 1, 1)


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("loss", LOSSES)
def test_settings_make_the_fitness_of_their_names(gain, loss):
    settings = SearchSettings(gain=gain, loss=loss, penalty=2.5, drift=0.5)
    made = Objective.of(settings, BASE, (0, 1, 0))
    now = readings([0.0, -1.0, 5.0], [-1.0, -9.0], [0.1, 9.0], [1.0, 0.2, 9.0], [1.0, -9.0])
    assert float(made(now)) == float(objective(BASE, [0, 1, 0], gain, loss, 2.5, 0.5)(now))


def test_without_controls_and_texts_only_the_targets_count():
    assert (
        objective(readings([-1.0, -1.0]), drift=5.0)(readings([1.0, -1.0], target_margins=[-1.0, -1.0]))
        == 1.0
    )


def test_first_and_at_take_their_part():
    now = Readings(*(torch.arange(6.0).view(2, 3) + 10 * kind for kind in range(5)))
    some = now.first(1, 2, 0)
    assert [getattr(some, field).tolist() for field in some.__dataclass_fields__] == [
        [[0.0], [3.0]],
        [[10.0], [13.0]],
        [[20.0, 21.0], [23.0, 24.0]],
        [[30.0, 31.0], [33.0, 34.0]],
        [[], []],
    ]
    assert now.at(1).controls.tolist() == [23.0, 24.0, 25.0] and now.counts == (3, 3, 3)


@pytest.mark.parametrize("gain", GAINS)
def test_target_weights_are_slopes_of_the_gain(gain):
    fitness = objective(BASE, [4, 1, 4], gain, penalty=0.0)
    now = readings([0.3, 0.6, -2.5], [0.0, 0.0], [0.0, 0.0], [-1.0, 0.3, 2.0])
    weights = fitness.target_weights(now)
    assert weights.shape == (3,) and not weights.requires_grad
    name = {"score": "targets", "margin": "target_margins"}[GAINS[gain].reads]
    for target in range(3):
        values = []
        for step in (1e-5, -1e-5):
            fields = {field: getattr(now, field).clone() for field in now.__dataclass_fields__}
            fields[name][target] += step
            values.append(float(fitness(Readings(**fields))))
        assert float(weights[target]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-9)
    with torch.no_grad():
        assert torch.equal(fitness.target_weights(now), weights)


def test_target_weights_of_worst_follow_the_worst_domain():
    fitness = objective(BASE, [0, 1, 1], "worst")
    now = readings([3.0, -3.1, -2.0], target_margins=[0.0] * 3)
    assert fitness.target_weights(now).tolist() == [0.0, 0.5, 0.5]


@pytest.mark.parametrize("loss", LOSSES)
def test_control_losses_are_what_the_fitness_would_lose(loss):
    base = readings([0.0], [-1.0, -2.0, -0.5], control_margins=[3.0, 0.5, -1.0], target_margins=[-1.0])
    now = readings([0.0], [-1.5, -1.0, -0.5], control_margins=[2.0, 0.9, -2.0], target_margins=[-1.0])
    fitness = objective(base, loss=loss)
    name = {"score": "controls", "margin": "control_margins"}[LOSSES[loss].reads]
    controls = torch.tensor([2, 0])
    change = torch.tensor([[[0.5, -0.5]], [[1.5, -0.1]]], dtype=torch.float64)  # [controls, rows, places]
    found = fitness.control_losses(now, change, controls)
    assert found.shape == change.shape
    for at, control in enumerate(controls.tolist()):
        for place in range(2):
            fields = {field: getattr(now, field).clone() for field in now.__dataclass_fields__}
            fields[name][control] += change[at, 0, place]
            expected = float(fitness(now) - fitness(Readings(**fields)))
            assert float(found[at, 0, place]) == pytest.approx(expected, abs=1e-12)
    assert not fitness.control_losses(base, torch.zeros(3, 4, 1), torch.arange(3)).any()
    assert not fitness.control_losses(base, torch.ones(3, 4, 1), torch.arange(3)).any()
    one = torch.tensor([0.25])
    assert fitness.control_losses(now, -one, torch.tensor([0])).shape == (1,)


def test_kept_losses_are_what_the_fitness_would_lose():
    base = readings([-1.0, -0.2, -0.4], target_margins=[-1.0, 2.0, 1.0])
    now = readings([-1.0, -0.3, -0.1], target_margins=[-1.0, 2.0, 1.0])
    fitness, change = objective(base), torch.tensor([[0.5], [-0.5]], dtype=torch.float64)
    found = fitness.kept_losses(now, change, torch.tensor([1, 2]))
    # Target 1 has lost 0.1 and gets it back; target 2 is 0.3 ahead and loses 0.5. Two targets are kept.
    assert found[:, 0].tolist() == pytest.approx([-2 * 0.1 / 2, 2 * 0.2 / 2])
    # A gain that follows scores says nothing about margins.
    assert not objective(base, loss="margin").kept_losses(now, change, torch.tensor([1, 2])).any()
