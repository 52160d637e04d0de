"""Draws picked among candidates: right where q is wide or off; q's own where it is lost."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.amortisation.weighted_draws import WeightedDraws
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.task_level.scored_density import by_scores

TASKS = bm.Tasks.from_list([[1.0, 2.0], [0.5], []]).to(dtype=torch.float64)
DRAWS = 2000


def model(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, 2.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def right(mu: float) -> tuple[Tensor, Tensor]:
    precision = 0.25 + TASKS.sizes.double()
    total = torch.where(TASKS.mask, TASKS.y, 0.0).sum(1)
    return (0.25 * mu + total) / precision, precision**-0.5


class Off:
    """q of scores z, its mean and sd off by so many posterior sds and by a factor."""

    def __init__(self, shift: float, times: float, theta: Tensor | None = None) -> None:
        self.shift, self.times, self.theta = shift, times, theta

    def moments(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        precision = 0.25 + TASKS.sizes.double()
        total = torch.where(TASKS.mask, TASKS.y, 0.0).sum(1)
        mean, sd = (0.25 * theta + total) / precision, precision**-0.5
        return (mean + self.shift * sd - theta) / 2, self.times * sd / 2

    def __call__(self, theta: Tensor, tasks: bm.Tasks, state: object) -> Off:
        return Off(self.shift, self.times, theta[0])

    def draw(self, noise: Tensor) -> Tensor:
        mean, sd = self.moments(self.theta)
        return mean[:, None] + sd[:, None] * noise

    def unconstrained(self, z: Tensor) -> Tensor:
        return self.theta + 2 * z

    def log_prob(self, z: Tensor) -> Tensor:
        mean, sd = self.moments(self.theta)
        return dist.Normal(mean, sd).log_prob(z[..., 0])


def picked(shift: float, times: float, count: int, *, is_point: bool) -> Tensor:
    """(draws, tasks), in posterior sds from the posterior's mean."""
    scored = by_scores(Density(read(model, TASKS)), TASKS)
    theta = torch.full((DRAWS, 1), 0.3, dtype=torch.float64)
    noise = TaskNoise(torch.Generator().manual_seed(0), TASKS)
    draws = WeightedDraws(scored, TASKS, theta, Off(shift, times), (), is_point=is_point)
    phi = draws.picked(draws.candidates(count, noise), noise)[..., 0]
    mean, sd = right(0.3)
    return (phi - mean) / sd


@pytest.mark.parametrize("is_point", [True, False])
@pytest.mark.parametrize(("shift", "times"), [(0.0, 1.0), (0.0, 3.0), (1.0, 1.5), (0.3, 0.8)])
def test_picked_draws_have_the_posteriors_moments(
    shift: float, times: float, is_point: bool
) -> None:
    found = picked(shift, times, 4, is_point=is_point)
    assert found.mean(0).abs().max() < 0.12
    assert (found.std(0) - 1).abs().max() < 0.12


def test_negative_control_four_candidates_a_draw_are_too_few() -> None:
    assert (picked(0.0, 3.0, 1, is_point=False).std(0) > 1.2).all()


def test_where_weights_say_too_little_the_draws_are_qs_own() -> None:
    found = picked(12.0, 0.2, 4, is_point=True)
    assert (found.mean(0) - 12).abs().max() < 0.1
    assert len(found.unique(dim=0)) == DRAWS


def test_noise_does_not_depend_on_the_other_tasks() -> None:
    def of(tasks: bm.Tasks) -> Tensor:
        phi = bm.Amortised(bm.DeepSet(8, width=8), draws=50)
        density = Density(read(model, TASKS))
        state = phi.start(density, TASKS)
        flat = density.theta_at({"mu": torch.tensor(0.3)}, TASKS).expand(50, -1)
        generator = torch.Generator().manual_seed(0)
        return phi.infer(density, flat, tasks, generator, is_point=True, state=state)

    both = of(TASKS.select(torch.tensor([0, 1])))
    torch.testing.assert_close(both[:, 1:], of(TASKS.select(torch.tensor([1]))))
