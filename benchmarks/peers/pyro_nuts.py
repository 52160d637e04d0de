"""Pyro's own NUTS, its potential compiled by torch.jit."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor

from benchmarks.contest import Budget, Result, now, serve
from benchmarks.problems import Problem


def eight_schools(y: Tensor, sigma: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("tasks", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)


def radon(y: Tensor, floor: Tensor, county: Tensor) -> None:
    mu_alpha = pyro.sample("mu_alpha", dist.Normal(0.0, 10.0))
    mu_beta = pyro.sample("mu_beta", dist.Normal(0.0, 10.0))
    tau_alpha = pyro.sample("tau_alpha", dist.HalfNormal(1.0))
    tau_beta = pyro.sample("tau_beta", dist.HalfNormal(1.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("tasks", 85):
        z_alpha = pyro.sample("z_alpha", dist.Normal(0.0, 1.0))
        z_beta = pyro.sample("z_beta", dist.Normal(0.0, 1.0))
    alpha, beta = mu_alpha + tau_alpha * z_alpha, mu_beta + tau_beta * z_beta
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(alpha[county] + beta[county] * floor, sigma), obs=y)


def logistic(x: Tensor, y: Tensor) -> None:
    tasks, data, features = x.shape
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0).expand([features]).to_event(1))
    tau = pyro.sample("tau", dist.HalfNormal(1.0).expand([features]).to_event(1))
    with pyro.plate("tasks", tasks, dim=-2):
        z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([features]).to_event(1))
        with pyro.plate("data", data, dim=-1):
            pyro.sample("y", dist.Bernoulli(logits=(x * (mu + tau * z)).sum(-1)), obs=y)


MODELS: dict[str, Callable[..., None]] = {
    "eight_schools": eight_schools,
    "radon": radon,
    "logistic": logistic,
}


def sample(problem: Problem, budget: Budget) -> Result:
    """Compile the potential first, so that its cost is not counted as sampling."""
    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(budget.seed)
    data = {name: torch.as_tensor(value) for name, value in problem.data.items()}
    if "county" in data:
        data["county"] = data["county"].long()
    start = now()
    initial, potential, transforms, _ = initialize_model(
        MODELS[problem.name],
        model_kwargs=data,
        jit_compile=True,
        skip_jit_warnings=True,
        num_chains=budget.chains,
    )
    at = {name: value.clone().requires_grad_() for name, value in initial.items()}
    if budget.chains > 1:
        at = {name: value[0].detach().requires_grad_() for name, value in at.items()}
    # torch.jit specialises on its first few calls.
    for _ in range(5):
        torch.autograd.grad(potential(at), list(at.values()))
    compiled = now()
    kernel = NUTS(potential_fn=potential)
    mcmc = MCMC(
        kernel,
        num_samples=budget.draws,
        warmup_steps=budget.tune,
        num_chains=budget.chains,
        initial_params=initial,
        transforms=transforms,
        mp_context=None,
        disable_progbar=True,
    )
    mcmc.run()
    end = now()
    draws = {name: value.numpy() for name, value in mcmc.get_samples(group_by_chain=True).items()}
    if problem.name == "logistic":
        draws["z"] = draws["z"].squeeze(-2)
    divergences = sum(len(steps) for steps in mcmc.diagnostics()["divergences"].values())
    return Result(draws, compiled - start, end - compiled, divergences)


if __name__ == "__main__":
    serve(sample)
