"""Fitness on hand-made scores."""

import torch

from bankai.search.objective import Objective


def test_gain_of_targets_less_penalty_on_lost_controls() -> None:
    objective = Objective(torch.tensor([-1.0, -3.0]), torch.tensor([-0.5, -0.5]), penalty=2.0)
    # targets +0.5 and +1.5: mean 1; controls -0.2 and +4: only the loss counts, mean 0.1
    assert torch.isclose(objective(torch.tensor([-0.5, -1.5]), torch.tensor([-0.7, 3.5])), torch.tensor(0.8))
    assert objective(objective.targets, objective.controls) == 0


def test_candidates_are_measured_together() -> None:
    objective = Objective(torch.zeros(2), torch.zeros(1), penalty=1.0)
    fitness = objective(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([[-1.0], [-2.0]]))
    assert fitness.tolist() == [0.0, -2.0]


def test_without_controls_only_the_gain_counts() -> None:
    objective = Objective(torch.zeros(2), torch.zeros(0), penalty=2.0)
    assert objective(torch.tensor([2.0, 0.0]), torch.zeros(0)) == 1.0
