"""Each family of outcomes: fitted, scored, predicted and exported, all as outcomes of one model.

Moments of a prediction are those of its draws, and scores are the family's own densities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import AffineTransform, ExpTransform, SigmoidTransform

import bayesmeta as bm
from bayesmeta.draws.predict import predictions
from bayesmeta.model.outcomes import pointwise

HALF = torch.tensor(0.5)


def mixture(a: Tensor) -> dist.MixtureSameFamily:
    means = torch.stack([a, a + 3], -1)
    return dist.MixtureSameFamily(dist.Categorical(torch.tensor([0.3, 0.7])), dist.Normal(means, 1))


FAMILIES: dict[str, Callable[[Tensor], Any]] = {
    "Poisson": lambda a: dist.Poisson(a.exp()),
    "NegativeBinomial": lambda a: dist.NegativeBinomial(3.0, logits=a),
    "GammaPoisson": lambda a: dist.GammaPoisson(2.0, a.exp()),
    "ZeroInflatedPoisson": lambda a: dist.ZeroInflatedPoisson(a.exp(), gate=HALF),
    "Binomial": lambda a: dist.Binomial(9, logits=a),
    "BetaBinomial": lambda a: dist.BetaBinomial(a.exp(), 2.0 + 0 * a, 9),
    "Bernoulli": lambda a: dist.Bernoulli(logits=a),
    "Geometric": lambda a: dist.Geometric(logits=a),
    "LogNormal": lambda a: dist.LogNormal(a, 0.5),
    "Weibull": lambda a: dist.Weibull(a.exp(), 1.5),
    "Gamma": lambda a: dist.Gamma(2.0, a.exp()),
    "Beta": lambda a: dist.Beta(1 + a.exp(), 2.0),
    "StudentT": lambda a: dist.StudentT(5.0, a, 1.0),
    "AsymmetricLaplace": lambda a: dist.AsymmetricLaplace(a, 1.0, 1.5),
    "Logistic": lambda a: dist.Logistic(a, 1.0),
    "SkewLogistic": lambda a: dist.SkewLogistic(a, 1.0, 1.3),
    "VonMises": lambda a: dist.VonMises(a, 2.0),
    "shifted lognormal": lambda a: dist.TransformedDistribution(
        dist.Normal(a, 0.5), [ExpTransform(), AffineTransform(0.25, 1.0)]
    ),
    "logit-normal": lambda a: dist.TransformedDistribution(
        dist.Normal(a, 1.0), [SigmoidTransform()]
    ),
    "mixture": mixture,
    "censored": lambda a: bm.Censored(dist.Normal(a, 1.0), -1.0, 1.0),
    "HalfNormal": lambda a: dist.HalfNormal(a.exp()),
    "Exponential": lambda a: dist.Exponential(a.exp()),
}
CLASSES: dict[str, Callable[[Tensor], Any]] = {
    "Categorical": lambda a: dist.Categorical(logits=torch.stack([a, 0 * a, -a], -1)),
    "OrderedLogistic": lambda a: dist.OrderedLogistic(a, torch.tensor([-1.0, 0.5])),
}
VECTORS: dict[str, Callable[[Tensor], Any]] = {
    "Multinomial": lambda a: dist.Multinomial(6, logits=torch.stack([a, 0 * a], -1)),
    "DirichletMultinomial": lambda a: dist.DirichletMultinomial(
        torch.stack([a.exp(), 1 + 0 * a], -1), 6
    ),
    "MultivariateNormal": lambda a: dist.MultivariateNormal(
        torch.stack([a, 0 * a], -1), torch.tensor([[1.0, 0.5], [0.5, 2.0]])
    ),
}
ALL = {**FAMILIES, **CLASSES, **VECTORS}
PLACES = {name: k for k, name in enumerate([*FAMILIES, *CLASSES])}
WIDE = len(PLACES)


def place(name: str) -> slice | int:
    """Where in y an outcome stands."""
    if name in PLACES:
        return PLACES[name]
    first = WIDE + 2 * list(VECTORS).index(name)
    return slice(first, first + 2)


def model(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        a = pyro.sample("a", dist.Normal(0.0, 0.5))
        with pyro.plate("data", tasks.num_data, dim=-1):
            for name, family in ALL.items():
                observed = None if tasks.y is None else tasks.y[..., place(name)]
                at = a.expand(*a.shape[:-2], tasks.num_tasks, tasks.num_data)
                pyro.sample(name, family(at), obs=observed)


def drawn(num_tasks: int = 2, num_data: int = 3) -> bm.Tasks:
    torch.manual_seed(2)
    a, y = torch.zeros(num_tasks, num_data), torch.zeros(num_tasks, num_data, WIDE + 6)
    for name, family in ALL.items():
        y[..., place(name)] = family(a).expand(a.shape).sample().float()
    return bm.Tasks.from_arrays(y)


@pytest.fixture(scope="module")
def post() -> bm.Posterior:
    phi = bm.Laplace(draws=250)
    return bm.fit(model, drawn(), theta=bm.Fixed({}), phi=phi, progress=False)


@pytest.fixture(scope="module")
def predicted(post: bm.Posterior) -> dict[str, bm.Prediction]:
    return predictions(post.draws, post.tasks, list(ALL))


@pytest.mark.parametrize("name", [*FAMILIES, *VECTORS])
def test_moments_are_those_of_the_draws(predicted: dict[str, bm.Prediction], name: str) -> None:
    found = predicted[name]
    values = found.draws.flatten(0, 1)
    error = values.std(0) / len(values) ** 0.5
    assert ((found.mean - values.mean(0)).abs() < 4.5 * error + 1e-6).all()
    assert torch.allclose(found.sd, values.std(0), rtol=0.35)


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_predicted_by_their_chances(
    predicted: dict[str, bm.Prediction], name: str
) -> None:
    found = predicted[name]
    share = torch.stack([(found.draws == k).double().mean((0, 1)) for k in range(3)], -1)
    assert torch.allclose(found.mean.double(), share, atol=0.1)


@pytest.fixture(scope="module")
def scored(post: bm.Posterior) -> dict[str, Tensor]:
    at = post.density, post.fit.theta[0, 0], post.free_phi[0, 0], post.tasks
    return {name: pointwise(*at, [name]) for name in ALL}


@pytest.mark.parametrize("name", ALL)
def test_scores_are_densities(post: bm.Posterior, scored: dict[str, Tensor], name: str) -> None:
    a, y = post.phi["a"][0, 0, :, None].expand(2, 3), post.tasks.y[..., place(name)]
    assert torch.allclose(scored[name], ALL[name](a).log_prob(y), atol=1e-4)


def test_all_are_adapted_to(post: bm.Posterior) -> None:
    adapted = post.adapt(drawn(1, 2))
    assert adapted.log_score().isfinite().all()


def test_the_chances_of_ordered_classes_are_those_of_pyro() -> None:
    x, cuts = torch.linspace(-3, 3, 7), torch.tensor([-1.0, 0.5])
    right = dist.OrderedLogistic(x, cuts)
    with bm.distributions.rewritten.rewritten():
        ours = dist.OrderedLogistic(x, cuts)
        assert torch.allclose(ours.expand([2, 7]).probs, right.expand([2, 7]).probs)
    assert dist.OrderedLogistic(x, cuts).probs.equal(right.probs)
    for fn in (ours, right):
        assert fn.predictor.equal(x) and fn.cutpoints.shape == (7, 2)
