"""Stan, through pystan 3."""

from __future__ import annotations

from typing import Any

import numpy as np
import stan
from httpstan.services_stub import executor

from benchmarks.contest import Budget, Result, now, serve
from benchmarks.problems import Arrays, Problem

EIGHT_SCHOOLS = """
data { vector[8] y; vector[8] sigma; }
parameters { real mu; real<lower=0> tau; vector[8] z; }
model {
  mu ~ normal(0, 5);
  tau ~ cauchy(0, 5);
  z ~ std_normal();
  y ~ normal(mu + tau * z, sigma);
}
"""

RADON = """
data { vector[919] y; vector[919] floor_; array[919] int county; }
parameters {
  real mu_alpha; real mu_beta;
  real<lower=0> tau_alpha; real<lower=0> tau_beta; real<lower=0> sigma;
  vector[85] z_alpha; vector[85] z_beta;
}
model {
  vector[85] alpha = mu_alpha + tau_alpha * z_alpha;
  vector[85] beta = mu_beta + tau_beta * z_beta;
  mu_alpha ~ normal(0, 10);
  mu_beta ~ normal(0, 10);
  tau_alpha ~ normal(0, 1);
  tau_beta ~ normal(0, 1);
  sigma ~ normal(0, 1);
  z_alpha ~ std_normal();
  z_beta ~ std_normal();
  y ~ normal(alpha[county] + beta[county] .* floor_, sigma);
}
"""

LOGISTIC = """
data { int I; int J; int K; array[I] matrix[J, K] x; array[I, J] int y; }
parameters { vector[K] mu; vector<lower=0>[K] tau; array[I] vector[K] z; }
model {
  mu ~ normal(0, 2);
  tau ~ normal(0, 1);
  for (i in 1:I) {
    z[i] ~ std_normal();
    y[i] ~ bernoulli_logit_glm(x[i], 0, mu + tau .* z[i]);
  }
}
"""

CODE = {"eight_schools": EIGHT_SCHOOLS, "radon": RADON, "logistic": LOGISTIC}


def stan_data(problem: Problem) -> dict[str, Any]:
    """The arrays under Stan's types; `floor` is a function of Stan, and it counts from one."""
    data: dict[str, Any] = dict(problem.data)
    if problem.name == "radon":
        data["floor_"] = data.pop("floor")
        data["county"] = data["county"].astype(int) + 1
    if problem.name == "logistic":
        data["I"], data["J"], data["K"] = data["x"].shape
        data["y"] = data["y"].astype(int)
    return {name: np.asarray(value).tolist() for name, value in data.items()}


def chain_first(fit: Any, budget: Budget) -> Arrays:
    """Stan's (..., draw, chain), which it hands out flat, as (chain, draw, ...)."""
    draws = {}
    for name, shape in zip(fit.param_names, fit.dims, strict=True):
        value = fit[name].reshape(*shape, budget.draws, budget.chains)
        draws[name] = np.moveaxis(value, (-1, -2), (0, 1))
    return draws


def sample(problem: Problem, budget: Budget) -> Result:
    """Chains share one core; wall time includes pystan's own server and its parsing of draws."""
    start = now()
    model = stan.build(CODE[problem.name], data=stan_data(problem), random_seed=budget.seed)
    compiled = now()
    fit = model.sample(num_chains=budget.chains, num_warmup=budget.tune, num_samples=budget.draws)
    # Its workers' processor time is known once they have ended.
    executor.shutdown()
    end = now()
    return Result(
        chain_first(fit, budget), compiled - start, end - compiled, int(fit["divergent__"].sum())
    )


if __name__ == "__main__":
    serve(sample)
