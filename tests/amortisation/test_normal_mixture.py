"""NormalMixture: draws are of its density, without data it is the prior, and it has two modes."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.amortisation.guides import Anchor


def given(guide: bm.NormalMixture, n: float, d_phi: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(1, guide.numbers(d_phi), generator=generator, dtype=torch.float64)
    anchor = Anchor(torch.zeros(1, d_phi).double(), torch.ones(1, d_phi).double())
    return numbers, torch.full((1, 1), n, dtype=torch.float64), anchor


@pytest.mark.parametrize("d_phi", [1, 2])
def test_draws_are_of_the_density(d_phi: int) -> None:
    """Shares of half-spaces by draws, against integrals of the density on a grid."""
    guide = bm.NormalMixture(3)
    shape = given(guide, 2.0, d_phi)
    noise = torch.randn(200_000, 1, d_phi, generator=torch.Generator().manual_seed(1)).double()
    draws = guide.draw((), *shape, noise)[:, 0]
    axis = torch.linspace(-9, 9, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * d_phi).reshape(-1, 1, d_phi)
    share = guide.log_prob((), *shape, grid).exp()[:, 0] * (axis[1] - axis[0]) ** d_phi
    assert share.sum() == pytest.approx(1.0, abs=1e-3)
    for direction in torch.eye(d_phi).double():
        for edge in (-0.5, 0.3, 1.0):
            found = ((draws @ direction) < edge).double().mean()
            right = share[(grid[:, 0] @ direction) < edge].sum()
            assert abs(float(found - right)) < 0.008


def test_without_data_every_normal_is_the_prior() -> None:
    guide = bm.NormalMixture(3)
    z = torch.randn(20, 1, 2, dtype=torch.float64)
    log_q = guide.log_prob((), *given(guide, 0.0, 2), z)[:, 0]
    torch.testing.assert_close(log_q, dist.Normal(0.0, 1.0).log_prob(z).sum((-1, -2)))


def test_a_posterior_of_two_modes_has_both() -> None:
    """Where a single normal has one, with sound weights (tests/phi/test_checks.py)."""

    def hills(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 2.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi.abs(), 0.3), obs=tasks.y)

    generator = torch.Generator().manual_seed(0)
    phi = 2 * torch.randn(100, 1, generator=generator)
    y = phi.abs() + 0.3 * torch.randn(100, 4, generator=generator)
    adam = bm.Adam(lr=3e-3, steps=200, patience=0, compile=False)
    strategy = bm.Amortised(guide=bm.NormalMixture(2))
    theta = bm.Point(batch_size=50, adam=adam)
    post = bm.fit(hills, bm.Tasks.from_arrays(y), theta=theta, phi=strategy, progress=False)
    new = post.adapt(bm.Tasks.from_list([[2.0, 2.1, 1.9, 2.0], [3.0] * 8]))
    draws = new.phi["phi"][0]
    assert ((draws > 0).double().mean(0) - 0.5).abs().max() < 0.08
    assert (draws.abs().mean(0) - torch.tensor([1.99, 2.99])).abs().max() < 0.05
    assert "dispersed starts" not in str(new.diagnose())
    refined = new.adapt(new.tasks, refine=bm.Refine(steps=20))
    assert (refined.phi["phi"][0].abs().mean(0) - torch.tensor([1.99, 2.99])).abs().max() < 0.05


def test_there_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="NormalMixture got components=0"):
        bm.NormalMixture(0)
