"""NumPyro's NUTS."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.infer import MCMC, NUTS

from benchmarks.contest import Budget, Result, now, serve
from benchmarks.problems import Problem


def eight_schools(y: Array, sigma: Array) -> None:
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("tasks", len(y)):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)


def radon(y: Array, floor: Array, county: Array) -> None:
    mu_alpha = numpyro.sample("mu_alpha", dist.Normal(0.0, 10.0))
    mu_beta = numpyro.sample("mu_beta", dist.Normal(0.0, 10.0))
    tau_alpha = numpyro.sample("tau_alpha", dist.HalfNormal(1.0))
    tau_beta = numpyro.sample("tau_beta", dist.HalfNormal(1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("tasks", 85):
        z_alpha = numpyro.sample("z_alpha", dist.Normal(0.0, 1.0))
        z_beta = numpyro.sample("z_beta", dist.Normal(0.0, 1.0))
    alpha, beta = mu_alpha + tau_alpha * z_alpha, mu_beta + tau_beta * z_beta
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(alpha[county] + beta[county] * floor, sigma), obs=y)


def logistic(x: Array, y: Array) -> None:
    tasks, data, features = x.shape
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0).expand([features]).to_event(1))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0).expand([features]).to_event(1))
    with numpyro.plate("tasks", tasks, dim=-2):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([features]).to_event(1))
        with numpyro.plate("data", data, dim=-1):
            logits = (x * (mu + tau * z)).sum(-1)
            numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)


MODELS: dict[str, Callable[..., None]] = {
    "eight_schools": eight_schools,
    "radon": radon,
    "logistic": logistic,
}


# The faster of the two ways to run chains on one core.
CHAIN_METHOD = {"eight_schools": "vectorized", "radon": "vectorized", "logistic": "sequential"}


def sample(problem: Problem, budget: Budget) -> Result:
    """Compile the whole run ahead: `MCMC.run` by itself traces and compiles on every call."""
    numpyro.enable_x64()
    data = {name: jax.numpy.asarray(value) for name, value in problem.data.items()}
    if "county" in data:
        data["county"] = data["county"].astype(int)
    mcmc = MCMC(
        NUTS(MODELS[problem.name]),
        num_warmup=budget.tune,
        num_samples=budget.draws,
        num_chains=budget.chains,
        chain_method=CHAIN_METHOD[problem.name],
        progress_bar=False,
    )

    def run(key: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        mcmc.run(key, extra_fields=("diverging",), **data)
        return mcmc.get_samples(group_by_chain=True), mcmc.get_extra_fields()

    key = jax.random.PRNGKey(budget.seed)
    start = now()
    compiled_run = jax.jit(run).lower(key).compile()
    compiled = now()
    draws, extra = jax.block_until_ready(compiled_run(key))
    end = now()
    arrays = {name: np.asarray(value) for name, value in draws.items()}
    if problem.name == "logistic":
        arrays["z"] = arrays["z"].squeeze(-2)
    divergences = int(np.asarray(extra["diverging"]).sum())
    return Result(arrays, compiled - start, end - compiled, divergences)


if __name__ == "__main__":
    serve(sample)
