"""Models and tasks that the tests of the core share: the zoo, and sites of every kind."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import bayesmeta as bm
from bayesmeta.models import (
    anil,
    eight_schools,
    few_shot_classifier,
    last_layer,
    linear_regression,
    logistic_regression,
    normal_means,
    omniglot,
    prototypes,
    radon,
    radon_contextual,
    ridge,
    sinusoid,
)
from bayesmeta.running.handlers import Model


def drop(tasks: bm.Tasks) -> bm.Tasks:
    """The same tasks, ragged: a third of the cells masked, the last task left empty."""
    generator = torch.Generator().manual_seed(5)
    mask = tasks.mask & (torch.rand(tasks.mask.shape, generator=generator) < 0.67)
    mask[-1] = False
    return bm.Tasks.from_arrays(tasks.y, tasks.x, mask, tasks.names)


LINEAR = linear_regression.tasks(num_tasks=6, num_data=5, num_features=3)
LOGISTIC = logistic_regression.tasks(num_tasks=6, num_data=5, num_features=3)
ZOO: dict[str, tuple[Model, bm.Tasks, str]] = {
    "eight_schools": (eight_schools.model, eight_schools.tasks(), "effect"),
    "normal_means": (normal_means.model, normal_means.tasks(ragged=False), "phi"),
    "normal_means_ragged": (normal_means.model, normal_means.tasks(), "phi"),
    "linear": (linear_regression.model, LINEAR, "w"),
    "linear_ragged": (linear_regression.model, drop(LINEAR), "w"),
    "logistic": (logistic_regression.model, LOGISTIC, "w"),
    "logistic_ragged": (logistic_regression.model, drop(LOGISTIC), "w"),
    "radon_ragged": (radon.model, radon.tasks(), "alpha"),
    "contextual_ragged": (radon_contextual.model, radon_contextual.tasks(), "county_effect"),
}


def rich(tasks: bm.Tasks) -> None:
    """Positive, bounded by a parent, simplex, Cholesky, event and plate sites, and a factor."""
    scale = pyro.sample("scale", dist.HalfCauchy(2.0))
    width = pyro.sample("width", dist.Uniform(0.0, scale))
    mix = pyro.sample("mix", dist.Dirichlet(torch.ones(3)))
    chol = pyro.sample("chol", dist.LKJCholesky(2, 2.0))
    level = pyro.param("level", torch.tensor(0.5), constraint=dist.constraints.positive)
    pyro.factor("gentle", -0.5 * scale**2)
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        pair = pyro.sample("pair", dist.MultivariateNormal(torch.zeros(2), scale_tril=chol))
        share = pyro.sample("share", dist.Dirichlet(1.0 + mix))
        with pyro.plate("features", 4, dim=-3):
            bend = pyro.sample("bend", dist.Normal(0.0, scale))
        within = pyro.sample("within", dist.Uniform(-width, width))
        mean = pair.sum(-1) + share[..., 0] + bend.sum(-3) + within
        pyro.deterministic("mean", mean)
        pyro.factor("soft", -(within**2))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(mean, level), obs=tasks.y)


def by_group(channels: int) -> nn.Module:
    """A normalisation that does not look at other images, so that padding changes nothing."""
    return nn.GroupNorm(1, channels)


EPISODES = omniglot.classes(omniglot.Split.TEST).episodes(2, ways=3, shots=1, queries=1)
EPISODES = EPISODES.to(dtype=torch.float64)
WAVES = sinusoid.tasks(3, 4).to(dtype=torch.float64)
NETWORKS: dict[str, tuple[Model, bm.Tasks, str]] = {
    "classifier": (few_shot_classifier.classifier(3, 4, by_group), EPISODES, "phi"),
    "anil": (anil.anil(3, 4, by_group), EPISODES, "head"),
    "prototypes": (prototypes.prototypes(3, 4, by_group), EPISODES, "prototype"),
    "ridge": (ridge.ridge(3, 4, by_group), ridge.onehot(EPISODES, 3), "weights"),
    "sinusoid": (sinusoid.model, WAVES, "phi"),
    "last_layer": (last_layer.last_layer(), drop(WAVES), "w"),
}
RICH_TASKS = normal_means.tasks(num_tasks=4, num_data=3)
EVERY = {**ZOO, **NETWORKS, "rich": (rich, RICH_TASKS, "bend")}
