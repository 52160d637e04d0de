"""lynx_hare: the equations against an accurate solver, the posterior against posteriordb's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import solve_ivp

import bayesmeta as bm
from bayesmeta.models import lynx_hare


def test_trajectories_solve_the_equations() -> None:
    rates, start = torch.tensor([0.55, 0.028, 0.8, 0.024]), torch.tensor([34.0, 5.9])
    alpha, beta, gamma, delta = rates.tolist()

    def slope(_: float, z: np.ndarray) -> list[float]:
        return [(alpha - beta * z[1]) * z[0], (delta * z[0] - gamma) * z[1]]

    years = np.arange(lynx_hare.YEARS)
    exact = solve_ivp(slope, (0, 20), start, t_eval=years, rtol=1e-10, atol=1e-10).y.T
    found = lynx_hare.trajectory(rates[:, None], start[None])[:, 0]
    # A thirtieth of the sd of an observation; solved half as finely, four times as much.
    np.testing.assert_allclose(found, np.log(exact), atol=0.01)


def test_truncated_is_a_density_with_its_mean() -> None:
    fn = lynx_hare.Truncated(torch.tensor([0.05, 1.0]), torch.tensor([0.05, 0.5]))
    x = torch.linspace(1e-9, 5.0, 1_000_001)[:, None]
    density = fn.log_prob(x).exp()
    torch.testing.assert_close(torch.trapezoid(density, x, dim=0), torch.ones(2), rtol=0, atol=1e-6)
    mean = torch.trapezoid(x * density, x, dim=0)
    torch.testing.assert_close(fn.mean, mean, rtol=0, atol=1e-6)
    torch.manual_seed(0)
    drawn = fn.sample((100_000,))
    assert (drawn > 0).all() and ((drawn.mean(0) - mean).abs() < 0.01 * mean).all()


def test_real_and_simulated_series_have_one_layout() -> None:
    real, simulated = lynx_hare.tasks(), lynx_hare.simulated(3)
    assert real.y.shape == (1, 42) and simulated.y.shape == (3, 42)
    pelts = lynx_hare.frame().query("year == 1904")[["hare", "lynx"]].to_numpy()[0]
    where = (real.x["year"] == 4)[0]
    np.testing.assert_allclose(real.y[0, where].exp(), pelts)
    assert torch.equal(simulated.x["lynx"][:1], real.x["lynx"])
    assert torch.equal(lynx_hare.simulated(3).y, simulated.y)
    assert not torch.equal(lynx_hare.simulated(3, seed=1).y, simulated.y)


@pytest.mark.slow
def test_posterior_is_that_of_posteriordb() -> None:
    """By a network that has learned from simulations, refined; without it, far off."""
    adam = bm.Adam(lr=1e-3, steps=4000, patience=0, compile=False)
    phi = bm.Amortised(lynx_hare.Series(128), bound=bm.Simulated(), width=256)
    theta = bm.Point(batch_size=128, adam=adam)
    simulated = lynx_hare.simulated(50_000).to(dtype=torch.float32)
    trained = bm.fit(lynx_hare.model, simulated, theta=theta, phi=phi, progress=False)
    real = lynx_hare.tasks()
    refined = trained.adapt(real, refine=bm.Refine(rerun=None))
    # A chain that starts where the prior's mean leads to ends on the mode of a wrong phase.
    lost = trained.adapt(real, phi=bm.Laplace())
    for row in pd.read_csv(lynx_hare.REFERENCE).itertuples():
        draws, other = (
            p.phi[row.site].flatten(0, 1).flatten(1)[:, row.element] for p in (refined, lost)
        )
        # A thousand draws have a Monte Carlo error of 0.03 sd, picked ones a larger one.
        assert abs(draws.mean() - row.mean) < 0.25 * row.sd, row.site
        assert 0.75 < draws.std() / row.sd < 1.25, row.site
        if row.site == "alpha":
            assert abs(other.mean() - row.mean) > row.sd
