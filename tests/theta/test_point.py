"""Point by noisy steps: units of the prior where no pilot is found, and what is said of the end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.theta import convergence, point
from bayesmeta.theta.convergence import doubts_about_point
from bayesmeta.theta.pilot import Pilot, find_pilot

Model = Callable[[bm.Tasks], None]


def model_of(unit: float) -> Model:
    """Levels of groups, in units of `unit`."""

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0 * unit))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, unit))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, unit), obs=tasks.y)

    return model


def data(unit: float) -> bm.Tasks:
    rng = np.random.default_rng(0)
    phi = 5 + rng.normal(size=(60, 1))
    return bm.Tasks.from_arrays(unit * (phi + rng.normal(size=(60, 4))))


def fitted(unit: float, steps: int, lr: float = 0.01) -> bm.Posterior:
    adam = bm.Adam(lr=lr, steps=steps, patience=0, compile=False)
    theta = bm.Point(batch_size=30, adam=adam)
    phi = bm.Amortised(bm.DeepSet(16, width=16))
    return bm.fit(model_of(unit), data(unit), theta=theta, phi=phi, progress=False)


@pytest.fixture
def no_pilot(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*given: object) -> Pilot | None:
        return None

    monkeypatch.setattr(point, "find_pilot", none)


@pytest.mark.parametrize("unit", [1e-3, 1e4])
def test_without_a_pilot_steps_are_in_units_of_the_prior(no_pilot: None, unit: float) -> None:
    found, right = (fitted(u, 400).theta["mu"].mean() / u for u in (unit, 1.0))
    assert float(found) == pytest.approx(float(right), rel=0.05)
    assert float(right) == pytest.approx(5.0, abs=0.5)


def test_where_steps_were_too_few_it_is_said(no_pilot: None) -> None:
    told = fitted(1.0, 20, lr=1e-3).diagnose()
    assert not told.ok
    assert "Theta has not converged: a prior standard deviation of mu would change" in str(told)


def test_negative_control_at_its_end_nothing_is_said() -> None:
    assert "has not converged" not in str(fitted(1.0, 600).diagnose())


@pytest.mark.parametrize(("slope", "is_said"), [(0.0, False), (0.3, False), (3.0, True)])
def test_slopes_count_beyond_their_noise(slope: float, is_said: bool) -> None:
    density = fitted(1.0, 1).draws.density
    noise = torch.randn(64, 1, generator=torch.Generator().manual_seed(0))
    found = doubts_about_point(slope + noise, density, is_known=True)
    assert bool(found) == is_said
    assert not is_said or "mu is about" in found[0]


@pytest.mark.parametrize("by_net", [True, False])
def test_steps_of_networks_have_no_pilot(by_net: bool) -> None:
    x = torch.randn(20, 5, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slope = torch.linspace(-1, 2, 20)[:, None]
    tasks = bm.Tasks.from_arrays(1 + slope * x[..., 0] + 0.1 * x[..., 0].sin(), {"x": x})
    with bm.nets.isolated(0):
        net = bm.nets.Net(torch.nn.Linear(1, 1))

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.sample("theta", dist.Normal(torch.zeros(2), 3.0).to_event(1))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            plain = phi[..., 0] * tasks.x["x"][..., 0] + phi[..., 1]
            loc = net(phi, tasks.x["x"])[..., 0] if by_net else plain
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(loc, 0.5), obs=tasks.y)

    density = Density(read(model, tasks))
    assert (find_pilot(density, tasks, bm.GradientSteps(2, 0.01), 0) is None) == by_net
    # Of the smallest networks Laplace has one.
    assert find_pilot(density, tasks, bm.Laplace(), 0) is not None
    assert find_pilot(density, tasks, bm.Joint(), 0) is not None


def test_a_curvature_that_is_no_number_has_a_flattest_way() -> None:
    broken = torch.diag(torch.tensor([3.0, torch.inf, 1.0]))
    assert int(convergence._flattest(broken)) == 2
