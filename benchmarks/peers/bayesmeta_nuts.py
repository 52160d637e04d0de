"""bayesmeta: plain Pyro plate models, sampled by its NUTS."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist

import bayesmeta as bm
from benchmarks.contest import Budget, Result, Seconds, now, serve
from benchmarks.problems import Problem


def eight_schools(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        effect = pyro.sample("effect", dist.Normal(mu, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(effect, tasks.x["sigma"]), obs=tasks.y)


def radon(tasks: bm.Tasks) -> None:
    mu_alpha = pyro.sample("mu_alpha", dist.Normal(0.0, 10.0))
    mu_beta = pyro.sample("mu_beta", dist.Normal(0.0, 10.0))
    tau_alpha = pyro.sample("tau_alpha", dist.HalfNormal(1.0))
    tau_beta = pyro.sample("tau_beta", dist.HalfNormal(1.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        alpha = pyro.sample("alpha", dist.Normal(mu_alpha, tau_alpha))
        beta = pyro.sample("beta", dist.Normal(mu_beta, tau_beta))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(alpha + beta * tasks.x["floor"], sigma), obs=tasks.y)


def logistic(tasks: bm.Tasks) -> None:
    x = tasks.x["x"]
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0).expand([x.shape[-1]]).to_event(1))
    tau = pyro.sample("tau", dist.HalfNormal(1.0).expand([x.shape[-1]]).to_event(1))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        w = pyro.sample("w", dist.Normal(mu, tau).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Bernoulli(logits=(x * w).sum(-1)), obs=tasks.y)


MODELS: dict[str, Callable[[bm.Tasks], None]] = {
    "eight_schools": eight_schools,
    "radon": radon,
    "logistic": logistic,
}
NONCENTRED = {"eight_schools": ("effect",), "radon": ("alpha", "beta"), "logistic": ("w",)}


def as_tasks(problem: Problem) -> bm.Tasks:
    """A school, a county, a data set of the regression is a task."""
    data = problem.data
    if problem.name == "eight_schools":
        return bm.Tasks.from_arrays(data["y"][:, None], x={"sigma": data["sigma"][:, None]})
    if problem.name == "logistic":
        return bm.Tasks.from_arrays(data["y"], x={"x": data["x"]})
    counties = [data["county"] == i for i in range(85)]
    return bm.Tasks.from_list(
        y=[data["y"][rows] for rows in counties],
        x={"floor": [data["floor"][rows] for rows in counties]},
    )


def fit(problem: Problem, tasks: bm.Tasks, budget: Budget) -> bm.Posterior:
    """Theta and phi of all tasks sampled together."""
    theta = bm.NUTS(
        chains=budget.chains,
        tune=budget.tune,
        draws=budget.draws,
        cores=1,
        noncentred=NONCENTRED[problem.name],
        compile=True,
    )
    model = MODELS[problem.name]
    return bm.fit(model, tasks, theta=theta, phi=bm.Joint(), seed=budget.seed, progress=False)


def sample(problem: Problem, budget: Budget) -> Result:
    """Fit once with a few draws, which compiles, and then in earnest.

    Of the second fit only the sampler and the draws' way to constrained values count as sampling:
    it reads and captures the model again, which the peers do before their clock starts.
    """
    tasks = as_tasks(problem)
    start = now()
    fit(problem, tasks, Budget(chains=1, tune=20, draws=20, seed=budget.seed))
    compiled = now()
    post = fit(problem, tasks, budget)
    fitted = now()
    draws = {name: value.numpy() for name, value in {**post.theta, **post.phi}.items()}
    read = now() - fitted
    whole, wall = fitted - compiled, post.seconds["sample"]
    sampling = Seconds(wall + read.wall, wall * whole.cpu / whole.wall + read.cpu)
    return Result(draws, compiled - start, sampling, int(post.stats["diverging"].sum()))


if __name__ == "__main__":
    serve(sample)
