"""Which sites are noncentred is chosen alike for NUTS and Gaussian, on part of the tasks."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import eight_schools
from bayesmeta.theta import pilot
from bayesmeta.theta.log_posterior import LogPosterior
from bayesmeta.theta.noncentring import noncentre

# The standard deviation of tau by quadrature.
TAU_SD = 3.219958415


@pytest.mark.slow
def test_gaussian_noncentres_eight_schools_and_is_less_too_sure_for_it() -> None:
    schools = eight_schools.tasks()
    shares = []
    for noncentred in (None, ()):
        post = bm.fit(
            eight_schools.model,
            schools,
            theta=bm.Gaussian(noncentred=noncentred, adam=bm.Adam(compile=False)),
            progress=False,
        )
        shares.append(float(post.theta["tau"].std()) / TAU_SD)
        assert ("noncentred: effect" in " ".join(post.notes)) == (noncentred is None)
    assert shares[0] > 0.65 and shares[1] < 0.45


def test_the_pilot_sees_at_most_256_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(tasks: bm.Tasks) -> None:
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, tau))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(torch.randn(1000, 1, dtype=torch.float64))
    density, seen = Density(read(model, tasks)), []

    class Counting(LogPosterior):
        def __init__(self, density, phi, tasks, **given):
            seen.append(tasks.num_tasks)
            super().__init__(density, phi, tasks, **given)

    monkeypatch.setattr(pilot, "LogPosterior", Counting)
    rough = pilot.find_pilot(density, tasks, bm.Joint(), 0)
    assert seen == [256] and rough is not None
    found, notes = noncentre(None, density, tasks, bm.Joint(), 0, rough)
    assert found.noncentred == ("phi",) and "noncentred: phi" in notes[0]
