"""The source is the model: executed by itself it has the same density, and what it says is true."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import radon
from tests.formula.made import made

pytest.importorskip("formulae")

F = bm.families
FRAME = made()
CASES: dict[str, bm.families.Family] = {
    "y ~ x + c + (1 + x | g)": F.Gaussian(),
    "y ~ x * c + (1 | g) + (1 + x | h)": F.StudentT(),
    "yes ~ x + (1 | g:c)": F.Bernoulli(),
    "p(hits, shots) ~ scale(x) + (1 | g/c)": F.Binomial(),
    "count ~ x + offset(log(exposure)) + (x || g)": F.Poisson(),
    "count ~ 0 + c + (0 + c | g)": F.NegativeBinomial(),
    "rank ~ x + (1 | g)": F.Ordinal(),
}


def density(model: Any, tasks: bm.Tasks, theta: float = 0.1, phi: float = 0.2) -> torch.Tensor:
    """log p(theta, phi, D) at a point of the unconstrained scale."""
    found = Density(read(model, tasks))
    at = torch.full((found.d_theta,), theta, dtype=torch.float64)
    width = found.width(tasks)
    terms = found.terms(at, torch.full((len(tasks), width), phi, dtype=torch.float64), tasks)
    return torch.cat([part.detach().reshape(-1) for part in terms if part is not None])


@pytest.mark.parametrize("text", CASES)
def test_the_source_alone_is_the_model(text: str) -> None:
    f = bm.formula(text, FRAME, family=CASES[text])
    namespace: dict[str, Any] = {}
    exec(f.source, namespace)
    found, expected = density(namespace["model"], f.tasks), density(f.model, f.tasks)
    assert torch.isfinite(expected).all() and torch.equal(found, expected)
    edited = f.source.replace("dist.HalfNormal(", "dist.HalfNormal(2.0 * ")
    exec(edited, namespace)
    assert not torch.equal(density(namespace["model"], f.tasks), expected)


def by_hand(tasks: bm.Tasks) -> None:
    """What the first formula says, written as in the zoo."""
    import pyro
    import pyro.distributions as dist

    y, x = FRAME["y"], FRAME["x"]
    slope = pyro.sample("x", dist.Normal(0.0, 2.5 * y.std() / x.std()))
    centre = pyro.sample("centre", dist.Normal(y.mean(), 2.5 * y.std()))
    sigma = pyro.sample("sigma", dist.HalfNormal(y.std()))
    tau = pyro.sample("sd(Intercept|g)", dist.HalfNormal(y.std()))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        level = pyro.sample("Intercept|g", dist.Normal(centre - slope * x.mean(), tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(level + slope * tasks.x["x"], sigma), obs=tasks.y)


def test_the_priors_are_those_of_the_rule() -> None:
    f = bm.formula("y ~ x + (1 | g)", FRAME)
    found, expected = density(f.model, f.tasks), density(by_hand, f.tasks)
    assert torch.allclose(found, expected, rtol=1e-5)
    other = bm.formula("y ~ x + (1 | g)", FRAME.assign(y=2 * FRAME["y"]))
    assert not torch.allclose(density(other.model, f.tasks), expected, rtol=1e-3)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_units_change_nothing(unit: float) -> None:
    """Of x in other units the slope is in other units, and of y everything is."""
    scaled = FRAME.assign(x=FRAME["x"] * unit)
    posts = [
        (f, bm.fit(f.model, f.tasks, theta=bm.Importance(), phi=bm.Exact(), progress=False))
        for f in (bm.formula("y ~ x + (1 + x || g)", frame) for frame in (FRAME, scaled))
    ]
    (one, other) = (f.coefficients(post) for f, post in posts)
    assert other.loc["x", "mean"] * unit == pytest.approx(one.loc["x", "mean"], abs=0.01)
    assert other.loc["Intercept", "mean"] == pytest.approx(one.loc["Intercept", "mean"], abs=0.02)


def test_the_source_reads_as_it_is_written_in_the_documents() -> None:
    f = bm.formula("log_radon ~ floor + (1 | county)", radon.frame())
    assert str(f) == f.source
    written = textwrap.indent(f.source.split("\n", 2)[2], "    ")
    assert written in (Path(__file__).parents[2] / "docs" / "formula.md").read_text()
    assert max(map(len, f.source.splitlines())) <= 100
    assert repr(f) == (
        "Formula('log_radon ~ floor + (1 | county)', Gaussian; groups: county (tasks, 85))"
    )
    assert set(bm.structure(f.model, f.tasks).phi) == {"Intercept|county"}


def test_names_that_are_no_python_names() -> None:
    frame = FRAME.rename(columns={"x": "x x", "y": "1st 'y'", "g": "class"})
    f = bm.formula("`1st 'y'` ~ `x x` + I(`x x` / 2) + (I(`x x` / 2) | class)", frame)
    assert f.plan.design.predictors == ("x x", "I(x x per 2)")
    assert density(f.model, f.tasks).isfinite().all()


def test_tasks_keep_the_index_of_the_frame() -> None:
    frame = FRAME.sample(frac=1.0, random_state=1)
    f = bm.formula("y ~ x + (1 | g)", frame)
    post = bm.prior(f.model, f.tasks, draws=3)
    pd.testing.assert_index_equal(post.predict().to_frame().index, frame.index)


def test_which_factor_is_the_task() -> None:
    text = "y ~ x + (1 | h) + (1 | g)"
    assert bm.formula(text, FRAME).plan.factors[0].name == "g"  # of more groups
    f = bm.formula(text, FRAME, task="h")
    assert f.plan.factors[0].name == "h" and f.tasks.num_tasks == 5
    assert 'pyro.plate("groups of g", 12)' in f.source
    # The task's effects are integrated out, so that either way the evidence is of the same model.
    assert bm.structure(f.model, f.tasks).phi == ("Intercept|h",)


@pytest.mark.slow
def test_what_the_source_draws_is_found() -> None:
    """Calibrated by simulation: theta, correlations among them, the groups' own, and new groups."""
    f = bm.formula("y ~ x + (1 + x | g)", made(10, 6))
    theta = bm.Importance(draws=1000)
    found = bm.sbc(f.model, f.tasks, theta=theta, phi=bm.Exact(), simulations=40, progress=False)
    assert not found.failing and not found.failures, str(found)


PAIRS: dict[str, tuple[bm.Theta, bm.Phi]] = {
    "full Bayes": (bm.NUTS(chains=1, tune=20, draws=20, max_depth=5, compile=False), bm.Joint()),
    "variational": (bm.Gaussian(draws=50, adam=bm.Adam(steps=30, compile=False)), bm.Joint()),
    "iMAML": (bm.Point(adam=bm.Adam(steps=30, compile=False)), bm.Mode()),
    "MAML": (bm.Point(adam=bm.Adam(steps=30, compile=False)), bm.GradientSteps(lr=1e-3)),
    "amortised": (bm.Point(adam=bm.Adam(steps=30, compile=False)), bm.Amortised()),
}


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("text", CASES)
def test_every_pair_takes_it(text: str, pair: str) -> None:
    f = bm.formula(text, FRAME, family=CASES[text])
    theta, phi = PAIRS[pair]
    post = bm.fit(f.model, f.tasks, theta=theta, phi=phi, progress=False)
    for table in (f.coefficients(post), f.variation(post), f.group_effects(post)):
        assert table.notna().all(axis=None)
    assert f.predict(post, FRAME).mean[f.tasks.mask].isfinite().all()
