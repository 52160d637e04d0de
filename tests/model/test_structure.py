"""Latents that no strategy can treat are refused before any inference, with the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.running.handlers import Model

Y = torch.tensor([[-1.9, -1.8], [2.1, 1.7], [0.3, -0.4]], dtype=torch.float64)
TASKS = bm.Tasks.from_arrays(Y)


def first(z: Tensor) -> Tensor:
    return z[..., 0]


def same(z: Tensor) -> Tensor:
    return z


def latent(level: str, fn: Any, read: Callable[[Tensor], Tensor] = same) -> Model:
    """z drawn once, once a task or once a datapoint."""

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
        z = pyro.sample("z", fn) if level == "theta" else None
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            z = pyro.sample("z", fn) if level == "phi" else z
            with pyro.plate("data", tasks.num_data, dim=-1):
                z = pyro.sample("z", fn) if level == "local" else z
                pyro.sample("y", dist.Normal(phi + read(z), 1.0), obs=tasks.y)

    return model


FINITE = {
    "Bernoulli": (dist.Bernoulli(0.4), same),
    "Categorical": (dist.Categorical(torch.ones(3)), same),
    "Binomial": (dist.Binomial(4, 0.3), same),
    "OneHotCategorical": (dist.OneHotCategorical(torch.ones(2)), first),
}
ENDLESS = {"Poisson": dist.Poisson(3.0), "Geometric": dist.Geometric(0.3)}
LEVELS = ("theta", "phi", "local")
PAIRS = {
    "nuts": (bm.NUTS(), bm.Joint()),
    "laplace": (bm.Point(), bm.Laplace()),
    "amortised": (bm.Gaussian(), bm.Amortised()),
}


def refusal(model: Model, pair: str = "nuts") -> str:
    theta, phi = PAIRS[pair]
    with pytest.raises(bm.StructureError) as error:
        bm.fit(model, TASKS, theta=theta, phi=phi, progress=False)
    return str(error.value)


@pytest.fixture(autouse=True)
def no_inference(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("inference began")

    for theta in (bm.NUTS, bm.Point, bm.Gaussian):
        monkeypatch.setattr(theta, "fit", never)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("family", FINITE)
def test_a_finite_latent_of_theta_is_refused_with_the_way_out(family: str, pair: str) -> None:
    fn, read = FINITE[family]
    message = refusal(latent("theta", fn, read), pair)
    for word in (f"'z' ({family})", "sum it out", "dist.MixtureSameFamily", "bm.compare"):
        assert word in message


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("level", ["phi", "local"])
@pytest.mark.parametrize("family", FINITE)
def test_a_finite_latent_in_the_plates_is_summed_out(family: str, level: str, pair: str) -> None:
    theta, phi = PAIRS[pair]
    with pytest.raises(AssertionError, match="inference began"):
        bm.fit(latent(level, *FINITE[family]), TASKS, theta=theta, phi=phi, progress=False)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("family", ENDLESS)
def test_a_latent_count_has_no_end_of_values(family: str, level: str) -> None:
    message = refusal(latent(level, ENDLESS[family]))
    for word in (f"'z' ({family})", "no end", "continuous"):
        assert word in message
    assert "Mixture" not in message


def test_a_continuous_latent_of_a_datapoint_is_for_joint() -> None:
    for pair in ("laplace", "amortised"):
        message = refusal(latent("local", dist.Normal(0.0, 1.0)), pair)
        assert "'z'" in message and "take phi=bm.Joint()" in message
    with pytest.raises(AssertionError, match="inference began"):
        bm.fit(latent("local", dist.Normal(0.0, 1.0)), TASKS, theta=bm.NUTS(), progress=False)


@pytest.mark.parametrize("level", ["theta", "phi"])
def test_a_constant_is_no_latent(level: str) -> None:
    message = refusal(latent(level, dist.Delta(torch.tensor(1.0))))
    assert "'z'" in message and "pyro.deterministic" in message


def test_the_prior_is_refused_in_the_same_words() -> None:
    with pytest.raises(bm.StructureError, match=r"'z' \(Bernoulli\).*bm\.prior"):
        bm.prior(latent("theta", dist.Bernoulli(0.4)), TASKS)


def test_they_are_read_and_drawn_all_the_same() -> None:
    for level in LEVELS:
        model = latent(level, dist.Bernoulli(0.4))
        assert bm.structure(model, TASKS).nodes["z"].is_finite
        assert "z" in str(bm.graph(model, TASKS))


def of_mixture(probs: Tensor, parts: Any) -> Model:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.MixtureSameFamily(dist.Categorical(probs), parts))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    return model


PROBS = torch.tensor([0.3, 0.7], dtype=torch.float64)
CENTRES = torch.tensor([-2.0, 1.5], dtype=torch.float64)


def mixed_means(probs: Tensor) -> Tensor:
    """E[phi_i | y_i] in closed form: each part is conjugate, weighed by its evidence."""
    mean, n = Y.mean(1, keepdim=True), Y.shape[1]
    log_weight = probs.log() + dist.Normal(CENTRES, (0.64 + 1 / n) ** 0.5).log_prob(mean)
    centre = (CENTRES / 0.64 + n * mean) / (1 / 0.64 + n)
    return (log_weight.softmax(1) * centre).sum(1)


def test_what_the_remedy_says_is_right() -> None:
    """A latent class that is summed out: a prior that is a mixture, against its closed form."""
    model = of_mixture(PROBS, dist.Normal(CENTRES, 0.8))
    post = bm.fit(model, TASKS, theta=bm.Fixed({}), phi=bm.HMC(draws=4000), seed=1, progress=False)
    error = (post.phi["phi"].mean((0, 1)) - mixed_means(PROBS)).abs()
    # Draws have sds of up to 1.2, so that this is some five standard errors.
    assert (error < 0.1).all(), error
    # Negative control: with the shares exchanged the third task is elsewhere.
    assert ((post.phi["phi"].mean((0, 1)) - mixed_means(PROBS.flip(0))).abs() > 0.1).any()


def test_a_mixture_is_not_taken_for_a_normal() -> None:
    model = of_mixture(PROBS, dist.Normal(CENTRES, 0.1))
    with pytest.raises(bm.StructureError, match="'phi' is a mixture"):
        bm.fit(model, TASKS, theta=bm.Fixed({}), phi=bm.Exact(), progress=False)


def test_a_support_in_pieces_is_refused_in_words() -> None:
    model = of_mixture(PROBS, dist.Uniform(CENTRES, CENTRES + 1))
    with pytest.raises(bm.StructureError, match=r"'phi' \(MixtureSameFamily\).*one interval"):
        bm.fit(model, TASKS, theta=bm.Fixed({}), phi=bm.Laplace(), progress=False)
