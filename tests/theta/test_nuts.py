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


def collinear(tasks: bm.Tasks) -> None:
    """Six predictors that are almost one."""
    beta = pyro.sample("beta", dist.Normal(0.0, 5.0).expand([6]).to_event(1))
    s = pyro.sample("s", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            mean = a + (tasks.x["x"] * beta).sum(-1)
            pyro.sample("y", dist.Normal(mean, s), obs=tasks.y)


class Begun(Exception):
    """The sampler was called."""


@pytest.mark.parametrize("near", [0.05, 1.0])
def test_correlations_are_adapted_to_where_a_pilot_sees_them(
    near: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def sample(*args: object, low_rank: bool, **kwargs: object) -> None:
        asked.append(low_rank)
        raise Begun

    monkeypatch.setattr(nuts, "sample", sample)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(10, 8, 1, generator=draw) + near * torch.randn(10, 8, 6, generator=draw)
    tasks = bm.Tasks.from_arrays(x.sum(-1) + torch.randn(10, 8, generator=draw), x={"x": x})
    for low_rank in (None, False, True):
        theta = bm.NUTS(chains=1, low_rank=low_rank, compile=False)
        with pytest.raises(Begun):
            bm.fit(collinear, tasks, theta=theta, progress=False)
    assert asked == [near < 0.1, False, True]


def test_low_rank_is_yes_or_no() -> None:
    with pytest.raises(TypeError, match=r"low_rank=3; give True, False or None"):
        bm.NUTS(low_rank=3)  # type: ignore[arg-type]
