"""NUTS chooses how its density is computed by what that saves; the draws are the same."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.engine.native import why_unavailable
from bayesmeta.models import normal_means
from bayesmeta.theta import nuts

TASKS = normal_means.tasks(num_tasks=3, num_data=3, seed=1)


def _fit(compile: bool | None) -> bm.Posterior:
    short = bm.NUTS(chains=2, tune=100, draws=100, compile=compile)
    return bm.fit(normal_means.model, TASKS, theta=short, phi=bm.Joint(), progress=False)


@pytest.mark.skipif(why_unavailable() is not None, reason="no C++ compiler is here")
def test_a_short_run_is_compiled_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a short run must not pay for machine code on disk")

    monkeypatch.setattr(nuts, "_COMPILE_SECONDS", 0.0)
    monkeypatch.setattr(nuts, "build", refuse)
    found = _fit(None)
    assert found.seconds["compile"] > 0
    interpreted = _fit(False)
    assert interpreted.seconds["compile"] == 0
    # Rounding differs, and a hundred steps of adaptation do not amplify it much.
    assert (found.theta["mu"].mean() - interpreted.theta["mu"].mean()).abs() < 0.5


def test_without_a_compiler_it_works_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuts, "why_unavailable", lambda: "no C++ compiler was found")
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler was found"):
        found = _fit(True)
    assert torch.equal(found.theta["mu"], _fit(False).theta["mu"])


@pytest.mark.slow
@pytest.mark.skipif(why_unavailable() is not None, reason="no C++ compiler is here")
def test_correlated_effects_compile() -> None:
    """An LKJ prior indexes by a mask, and a multivariate normal calls LAPACK: both must compile."""

    def model(tasks: bm.Tasks) -> None:
        tau = pyro.sample("tau", dist.HalfNormal(1.0).expand([2]).to_event(1))
        factor = pyro.sample("factor", dist.LKJCholesky(2, 2.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            scale = tau[..., None] * factor
            b = pyro.sample("b", dist.MultivariateNormal(torch.zeros(2), scale_tril=scale))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(b.sum(-1), 1.0), obs=tasks.y)

    short = bm.NUTS(chains=1, tune=30, draws=30, compile=True)
    post = bm.fit(model, TASKS, theta=short, phi=bm.Joint(), progress=False)
    assert post.seconds["compile"] > 0
    assert torch.isfinite(post.phi["b"]).all()
