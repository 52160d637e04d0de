"""Formulas against lme4 and glmmTMB: the likelihood at their estimates, and what a fit finds."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import radon
from tests.formula.frames import cbpp, pastes, penicillin

pytest.importorskip("formulae")

F = bm.families


def at(f: bm.Formula, values: dict[str, object]) -> tuple[Density, Tensor]:
    density = Density(read(f.model, f.tasks))
    given = {n: torch.as_tensor(v, dtype=torch.float64) for n, v in values.items()}
    return density, density.theta_at(given, f.tasks)


def log_evidence(f: bm.Formula, values: dict[str, object], phi: bm.Phi) -> float:
    """log p(D | theta), phi integrated out."""
    density, theta = at(f, values)
    return phi.log_evidence(density, theta, f.tasks).sum().item()


def centred(f: bm.Formula, intercept: float, **slopes: float) -> float:
    """The level at the predictors' means, which the source's "centre" is."""
    means = {name: f.plan.design.columns[name].mean() for name in slopes}
    return intercept + sum(slopes[name] * means[name] for name in slopes)


def root(r: float) -> list[list[float]]:
    return [[1.0, 0.0], [r, math.sqrt(1 - r**2)]]


RADON: dict[str, tuple[float, tuple[float, float], dict[str, object]]] = {
    "log_radon ~ floor + (1 | county)": (
        -1081.825287,
        (1.4611582139, -0.6926364663),
        {"sd(Intercept|county)": 0.3244639738, "sigma": 0.7551596264},
    ),
    "log_radon ~ floor + (1 + floor | county)": (
        -1080.554395,
        (1.4624363917, -0.6824575444),
        {
            "sd(Intercept|county)": 0.3442661076,
            "sd(floor|county)": 0.3282754323,
            "factor(Intercept, floor|county)": root(-0.3394747586),
            "sigma": 0.7463375523,
        },
    ),
    "log_radon ~ floor + (1 + floor || county)": (
        -1081.05735,
        (1.4601443974, -0.6761173132),
        {
            "sd(Intercept|county)": 0.3271006301,
            "sd(floor|county)": 0.2817499498,
            "sigma": 0.7479642451,
        },
    ),
}
# The same said otherwise.
RADON["log_radon ~ floor + (1 | county) + (0 + floor | county)"] = RADON[
    "log_radon ~ floor + (1 + floor || county)"
]


@pytest.mark.parametrize("text", RADON)
def test_the_likelihood_of_normal_outcomes_is_lme4s(text: str) -> None:
    expected, (intercept, slope), values = RADON[text]
    f = bm.formula(text, radon.frame())
    given = {"floor": slope, "centre": centred(f, intercept, floor=slope), **values}
    assert log_evidence(f, given, bm.Exact()) == pytest.approx(expected, abs=2e-5)
    wrong = {**given, "centre": intercept}  # as if predictors were not centred
    assert abs(log_evidence(f, wrong, bm.Exact()) - expected) > 1


def test_the_likelihood_of_casks_in_batches_is_lme4s() -> None:
    f = bm.formula("strength ~ 1 + (1 | batch/cask)", pastes())
    values = {
        "Intercept": 60.05333333,
        "sd(Intercept|batch)": 1.0950596309,
        "sd(Intercept|batch:cask)": 2.9040775992,
        "sigma": 0.8234075513,
    }
    assert log_evidence(f, values, bm.Exact()) == pytest.approx(-123.9972329, abs=1e-5)
    apart = pastes().assign(cask=lambda x: x["batch"] + x["cask"])
    for same in ("(1 | batch) + (1 | batch:cask)", "(1 | batch) + (1 | cask)"):
        other = bm.formula(f"strength ~ 1 + {same}", apart)
        named = {n.replace("batch:cask", other.plan.factors[1].name): v for n, v in values.items()}
        assert log_evidence(other, named, bm.Exact()) == pytest.approx(-123.9972329, abs=1e-5)


def test_the_likelihood_of_samples_across_plates_is_lme4s() -> None:
    """The samples' effects are theta, so they are integrated out here, as the normals they are."""
    f = bm.formula("diameter ~ 1 + (1 | plate) + (1 | sample)", penicillin())
    assert [x.name for x in f.plan.factors] == ["plate", "sample"]
    sd = 1.7706462721
    values = {
        "Intercept": 22.97222222,
        "sd(Intercept|plate)": 0.8455722165,
        "sd(Intercept|sample)": sd,
        "sigma": 0.5499321933,
    }
    name = "shift(Intercept|sample)"
    (density, theta), (_, other) = (at(f, {**values, name: [x] * 6}) for x in (0.0, 1.0))
    is_effect = theta != other
    assert is_effect.sum() == 6

    def joint(effect: Tensor) -> Tensor:
        given = theta.masked_scatter(is_effect, effect)
        prior = torch.distributions.Normal(0.0, sd).log_prob(effect).sum()
        return bm.Exact().log_evidence(density, given, f.tasks).sum() + prior

    start = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    curvature = -torch.autograd.functional.hessian(joint, start)
    (slope,) = torch.autograd.grad(joint(start), start)
    found = joint(start) + 0.5 * slope @ torch.linalg.solve(curvature, slope)
    found = found + 3 * math.log(2 * math.pi) - 0.5 * torch.logdet(curvature)
    assert found.item() == pytest.approx(-166.0941743, abs=1e-5)


PERIODS = ("period[2]", "period[3]", "period[4]")
COUNTS = "incidence ~ period + offset(log(size)) + (1 | herd)"
# Formula, family, weights; log likelihood; intercept, periods, sd between herds, the family's own.
HERDS: dict[
    str, tuple[tuple[str, bm.families.Family, str | None], float, tuple[float, ...], dict]
] = {
    "binomial": (
        ("p(incidence, size) ~ period + (1 | herd)", F.Binomial(), None),
        -92.02628186,
        (-1.3985324664, -0.9923322929, -1.1286712975, -1.5803136871, 0.6422616722),
        {},
    ),
    "Poisson with an offset": (
        (COUNTS, F.Poisson(), None),
        -90.24164771,
        (-1.6483648973, -0.8440633158, -0.9662877154, -1.3910466613, 0.4915791413),
        {},
    ),
    "negative binomial": (
        (COUNTS, F.NegativeBinomial(), None),
        -87.4070686,
        (-1.532737687, -1.003214538, -1.036679563, -1.579245045, 0.1967653556),
        {"dispersion": 1 / 2.2478717},
    ),
    "Poisson with weights": (
        (COUNTS, F.Poisson(), "w"),
        -147.1681968,
        (-1.7494916740, -0.5847352794, -0.9935792863, -1.1003746358, 0.6165628645),
        {},
    ),
}


@pytest.mark.parametrize("case", HERDS)
def test_the_likelihood_of_counts_is_glmmtmbs(case: str) -> None:
    (text, family, weights), expected, numbers, own = HERDS[case]
    frame = cbpp().assign(w=lambda x: x["size"] / 10)
    f = bm.formula(text, frame, family=family, weights=weights)
    intercept, *slopes, sd = numbers
    by_name = dict(zip(PERIODS, slopes, strict=True))
    values = {"centre": centred(f, intercept, **by_name), "sd(Intercept|herd)": sd}
    values |= {**by_name, **own}
    assert log_evidence(f, values, bm.Laplace()) == pytest.approx(expected, abs=2e-5)
    wrong = {**values, "sd(Intercept|herd)": 2 * sd}
    assert abs(log_evidence(f, wrong, bm.Laplace()) - expected) > 0.1


def test_a_fit_finds_lme4s_coefficients() -> None:
    """Their posterior means are ML's to a tenth of a standard error, whose sizes agree, too."""
    f = bm.formula("log_radon ~ floor + (1 | county)", radon.frame())
    post = bm.fit(f.model, f.tasks, theta=bm.Importance(), phi=bm.Exact(), progress=False)
    found = f.coefficients(post)
    for name, estimate, error in (
        ("Intercept", 1.4611582139, 0.05123993),
        ("floor", -0.6926364663, 0.07036022),
    ):
        assert abs(found.loc[name, "mean"] - estimate) < 0.1 * error
        assert found.loc[name, "sd"] == pytest.approx(error, rel=0.05)
    ranef = {"Aitkin": -0.26658367, "Anoka": -0.53248054, "Becker": 0.01744272}
    effects = f.group_effects(post).loc["county"].droplevel("term")
    for county, estimate in ranef.items():
        assert abs(effects.loc[county, "mean"] - estimate) < 0.1 * effects.loc[county, "sd"]
    assert f.variation(post).loc["sigma", "mean"] == pytest.approx(0.7551596264, abs=0.005)


def test_a_fit_finds_glmers_coefficients() -> None:
    f = bm.formula("p(incidence, size) ~ period + (1 | herd)", cbpp(), family=F.Binomial())
    post = bm.fit(f.model, f.tasks, theta=bm.Importance(), phi=bm.Laplace(), progress=False)
    found = f.coefficients(post)
    estimates = [-1.398532099, -0.992332654, -1.128672040, -1.580313728]
    errors = [0.2312140, 0.3031506, 0.3228302, 0.4220492]
    expected = pd.DataFrame({"mean": estimates, "sd": errors}, found.index)
    assert ((found["mean"] - expected["mean"]).abs() < 0.25 * expected["sd"]).all()
    assert ((found["sd"] / expected["sd"] - 1).abs() < 0.15).all()
