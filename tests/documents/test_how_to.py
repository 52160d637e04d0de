"""Pages of docs/how_to: their code runs, and what it finds is what an exact answer says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats

import bayesmeta as bm
from bayesmeta.models import eight_schools

PAGES = Path(__file__).parents[2] / "docs" / "how_to"
Names = Mapping[str, Any]


def run(page: str) -> dict[str, Any]:
    """The names that a page's code leaves behind."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), names)
    return names


def assert_close(draws: torch.Tensor, mean: Any, sd: Any, within: float = 0.15) -> None:
    """Means are so near in exact sds, and sds in parts of themselves; (chain, draw, ...)."""
    found = draws.double().flatten(0, 1).reshape(draws.shape[:2].numel(), -1).numpy()
    mean, sd = np.asarray(mean).reshape(-1), np.asarray(sd).reshape(-1)
    assert np.abs((found.mean(0) - mean) / sd).max() < within
    assert np.abs(found.std(0) / sd - 1).max() < within


def real(tasks: bm.Tasks, column: str | None = None) -> list[np.ndarray]:
    """The outcomes, or a column, of each task, without padding."""
    values = tasks.y if column is None else tasks.x[column]
    pairs = zip(values, tasks.mask, strict=True)
    return [v[m].double().numpy() for v, m in pairs]


def linear(prior: np.ndarray, rows: np.ndarray, y: np.ndarray, sd: Any) -> tuple[Any, Any]:
    """Mean and sd of numbers with a normal prior of mean 0, of which rows @ numbers are seen."""
    weights = np.broadcast_to(1 / np.square(sd), y.shape)
    covariance = np.linalg.inv(np.linalg.inv(prior) + rows.T @ (weights[:, None] * rows))
    return covariance @ rows.T @ (weights * y), np.sqrt(np.diag(covariance))


def moments(values: np.ndarray, log_density: np.ndarray) -> tuple[float, float]:
    """Mean and sd on an even grid."""
    p = special.softmax(log_density)
    mean = (p * values).sum()
    return mean, np.sqrt((p * (values - mean) ** 2).sum())


def over_mu(
    log_likelihood: Sequence[Callable[[np.ndarray], np.ndarray]],
) -> tuple[tuple[float, float], list[tuple[float, float]]]:
    """Moments of mu ~ N(0, 1.5) and of each phi ~ N(mu, 1), by a grid of both."""
    mu, phi = np.linspace(-7, 7, 281), np.linspace(-10, 10, 401)
    prior = stats.norm.logpdf(phi, mu[:, None], 1.0)
    each = [prior + f(phi) for f in log_likelihood]
    tasks = [special.logsumexp(e, axis=1) for e in each]
    joint = stats.norm.logpdf(mu, 0, 1.5) + sum(tasks)
    # Of phi_i: over mu, given all data.
    of_phi = [
        special.logsumexp(e + (joint - t)[:, None], axis=0)
        for e, t in zip(each, tasks, strict=True)
    ]
    return moments(mu, joint), [moments(phi, p) for p in of_phi]


def gamma_rates(events: list[float], at_risk: list[float]) -> tuple[Any, Any, Any, Any]:
    """b ~ Gamma(2, 2), rate_i ~ Gamma(3, b), events ~ Poisson(rate_i at_risk): moments of both."""
    b = np.linspace(1e-3, 12, 6000)
    log_b = stats.gamma.logpdf(b, 2, scale=1 / 2)
    for n, t in zip(events, at_risk, strict=True):
        log_b = log_b + 3 * np.log(b) - (3 + n) * np.log(b + t)
    p = special.softmax(log_b)
    rates = []
    for n, t in zip(events, at_risk, strict=True):
        mean = (p * (3 + n) / (b + t)).sum()
        square = (p * (3 + n) * (4 + n) / (b + t) ** 2).sum()
        rates.append((mean, np.sqrt(square - mean**2)))
    return *moments(b, log_b), *map(np.array, zip(*rates, strict=True))


def crossed_groups(names: Names) -> None:
    tasks, items = names["persons"], names["ITEMS"]
    index, y = real(tasks, "item"), real(tasks)
    rows = [
        np.r_[-np.eye(items)[int(i)], np.eye(len(y))[k]] for k, of in enumerate(index) for i in of
    ]
    prior = np.diag([1.0] * items + [4.0] * len(y))
    mean, sd = linear(prior, np.array(rows), np.concatenate(y), 0.5)
    assert_close(names["post"].theta["item"], mean[:items], sd[:items])
    assert_close(names["post"].phi["person"], mean[items:], sd[items:])


def three_levels(names: Names) -> None:
    tasks, most = names["schools"], names["MOST"]
    index, y = real(tasks, "class"), real(tasks)
    number = len(y)
    rows = [
        np.r_[1.0, np.eye(number)[k], np.eye(number * most)[k * most + int(c)]]
        for k, of in enumerate(index)
        for c in of
    ]
    # Schools are mu plus something of their own.
    prior = np.diag([4.0] + [1.0] * number + [0.64] * number * most)
    mean, sd = linear(prior, np.array(rows), np.concatenate(y), 1.0)
    assert_close(names["post"].theta["mu"], mean[0], sd[0])
    assert_close(names["post"].phi["of_class"], mean[1 + number :], sd[1 + number :])


def slopes(names: Names) -> None:
    rho = np.linspace(-0.999, 0.999, 1999)
    design = np.column_stack([np.ones(4), names["X"][0]])
    log_density = np.zeros_like(rho)
    for k, r in enumerate(rho):
        covariance = design @ np.array([[1, r], [r, 1]]) @ design.T + 0.49 * np.eye(4)
        log_density[k] = stats.multivariate_normal.logpdf(names["Y"], cov=covariance).sum()
    assert_close(names["post"].theta["rho"], *moments(rho, log_density))


def exposure(names: Names) -> None:
    tasks = names["plants"]
    b, b_sd, rate, rate_sd = gamma_rates(
        [y.sum() for y in real(tasks)], [t.sum() for t in real(tasks, "years")]
    )
    assert_close(names["post"].theta["inverse_scale"], b, b_sd)
    assert_close(names["post"].phi["rate"], rate, rate_sd)


def censored(names: Names) -> None:
    tasks = names["clinics"]
    times, limits = real(tasks), real(tasks, "followed")
    deaths = [float((t < c).sum()) for t, c in zip(times, limits, strict=True)]
    b, b_sd, rate, rate_sd = gamma_rates(deaths, [t.sum() for t in times])
    assert_close(names["post"].theta["inverse_scale"], b, b_sd)
    assert_close(names["post"].phi["rate"], rate, rate_sd)
    assert "4" in " ".join(names["post"].notes)


def weights(names: Names) -> None:
    tasks = names["regions"]
    y, times = real(tasks), real(tasks, "weight")
    number = len(y)
    repeated = [np.repeat(v, t.astype(int)) for v, t in zip(y, times, strict=True)]
    rows = [np.r_[0.0, np.eye(number)[k]] for k, of in enumerate(repeated) for _ in of]
    # phi is mu plus something of its own.
    prior = np.full((number + 1, number + 1), 4.0)
    prior[1:, 1:] += np.eye(number)
    mean, sd = linear(prior, np.array(rows), np.concatenate(repeated), 0.5)
    assert_close(names["post"].theta["mu"], mean[0], sd[0])
    assert_close(names["post"].phi["phi"], mean[1:], sd[1:])
    assert "weighted" in " ".join(names["post"].notes)


def ordinal(names: Names) -> None:
    cuts = np.array([-np.inf, *names["CUTS"].tolist(), np.inf])

    def of(y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        high, low = (cuts[y.astype(int) + k][:, None] for k in (1, 0))
        return lambda phi: np.log(special.expit(high - phi) - special.expit(low - phi)).sum(0)

    (mean, sd), phi = over_mu([of(y) for y in real(names["persons"])])
    assert_close(names["post"].theta["mu"], mean, sd)
    assert_close(names["post"].phi["phi"], *zip(*phi, strict=True))


def zero_inflated(names: Names) -> None:
    def of(y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        count = y[:, None]
        return lambda phi: np.log(
            0.3 * (count == 0) + 0.7 * stats.poisson.pmf(count, np.exp(phi))
        ).sum(0)

    with np.errstate(divide="ignore"):
        (mean, sd), phi = over_mu([of(y) for y in real(names["ponds"])])
    assert_close(names["post"].theta["mu"], mean, sd)
    assert_close(names["post"].phi["phi"], *zip(*phi, strict=True))


def missing_covariates(names: Names) -> None:
    tasks = names["tasks"]
    y, x, seen = real(tasks), real(tasks, "x"), real(tasks, "seen")
    number = len(y)
    sd = np.where(np.concatenate(seen) > 0, 0.4, np.hypot(0.4, 0.8))
    residual = np.concatenate(y) - 0.8 * np.concatenate(x) * np.concatenate(seen)
    rows = np.array([np.r_[0.0, np.eye(number)[k]] for k, of in enumerate(y) for _ in of])
    prior = np.full((number + 1, number + 1), 4.0)
    prior[1:, 1:] += np.eye(number)
    mean, spread = linear(prior, rows, residual, sd)
    assert_close(names["post"].theta["mu"], mean[0], spread[0])
    assert_close(names["post"].phi["phi"], mean[1:], spread[1:])
    there = torch.cat([torch.as_tensor(s) == 0 for s in seen])
    hidden = names["post"].phi["x_unobserved"].mean((0, 1))
    assert torch.equal(~hidden[tasks.mask].isnan(), there)


def new_groups(names: Names) -> None:
    theta = names["post"].theta
    mu, tau = (theta[name].double().flatten() for name in ("mu", "tau"))
    assert_close(names["without"].phi["effect"], mu.mean(), (mu.var() + tau.square().mean()).sqrt())
    share = tau**2 / (tau**2 + 100.0)
    mean = mu + share * (20.0 - mu)
    sd = (mean.var() + (share * 100.0).mean()).sqrt()
    assert_close(names["given"].phi["effect"], mean.mean(), sd)


def as_by_quadrature(post: bm.Posterior) -> None:
    """Eight schools: all means and sds are those of quadrature."""
    for site, (mean, sd) in eight_schools.REFERENCE.items():
        assert_close({**post.theta, **post.phi}[site], mean, sd, within=0.2)


def diverging(names: Names) -> None:
    assert names["stuck"].diagnose().divergences >= 5
    assert names["sampled"].diagnose().divergences <= 2
    assert "diverged" in str(names["stuck"].diagnose())
    for name in ("sampled", "weighed"):
        as_by_quadrature(names[name])


def diagnose(names: Names) -> None:
    as_by_quadrature(names["weighed"])
    assert names["weighed"].diagnose().ok
    messages = " ".join(names["point"].diagnose().messages)
    assert "point estimate" in messages and "edge of the support" in messages


def saving(names: Names) -> None:
    post, loaded, new = (names[name] for name in ("post", "loaded", "new"))
    assert torch.equal(post.adapt(new).phi["effect"], loaded.adapt(new).phi["effect"])


CHECKS = {
    check.__name__: check
    for check in (
        crossed_groups,
        three_levels,
        slopes,
        exposure,
        censored,
        weights,
        ordinal,
        zero_inflated,
        missing_covariates,
        new_groups,
        diverging,
        diagnose,
        saving,
    )
}
FAST = {"three_levels", "weights", "new_groups", "diagnose", "saving"}


def test_every_page_has_a_check() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")} - {"index"}
    assert pages == CHECKS.keys()
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    assert all(f"({page}.md)" in index for page in pages)


@pytest.mark.parametrize(
    "page",
    [page if page in FAST else pytest.param(page, marks=pytest.mark.slow) for page in CHECKS],
)
def test_a_page_finds_what_an_exact_answer_says(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    CHECKS[page](run(page))


def test_another_answer_is_found_out() -> None:
    draws = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0)).double()
    assert_close(draws, 0.0, 1.0)
    for mean, sd in ((0.4, 1.0), (0.0, 1.4)):
        with pytest.raises(AssertionError):
            assert_close(draws, mean, sd)
