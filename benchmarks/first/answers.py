"""One fit of bayesmeta, as a script would do it: python answers.py PROBLEM.npz THETA PHI.

Scales have flat priors where theta is a point, so that its answer is that of maximum likelihood.
It runs by its path, on whichever bayesmeta is on the path, and prints one line of JSON.
"""

from __future__ import annotations

import json
import re
import sys
import time

began = time.perf_counter()

import numpy as np
import pyro
import pyro.distributions as dist
import torch

import bayesmeta as bm

imported = time.perf_counter()


def shared(name: str, size: int, is_point: bool, unit: float):
    """Means and scales of slopes, by parameters or with vague priors."""
    if is_point:
        mu = pyro.param(f"mu_{name}", torch.zeros(size, dtype=torch.float64))
        start = torch.full((size,), unit, dtype=torch.float64)
        return mu, pyro.param(f"tau_{name}", start, constraint=dist.constraints.positive)
    mu = pyro.sample(f"mu_{name}", dist.Normal(0.0, 10 * unit).expand([size]).to_event(1))
    return mu, pyro.sample(f"tau_{name}", dist.HalfNormal(unit).expand([size]).to_event(1))


def noise(is_point: bool, unit: float):
    if is_point:
        start = torch.tensor(unit, dtype=torch.float64)
        return pyro.param("sigma", start, constraint=dist.constraints.positive)
    return pyro.sample("sigma", dist.HalfNormal(unit))


def regression(size: int, unit: float, is_point: bool, is_binary: bool):
    """Slopes of each task on all columns, independent."""

    def model(tasks: bm.Tasks) -> None:
        mu, tau = shared("w", size, is_point, unit)
        sigma = None if is_binary else noise(is_point, unit)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            w = pyro.sample("w", dist.Normal(mu, tau).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = (tasks.x["x"] * w).sum(-1)
                fn = dist.Bernoulli(logits=mean) if is_binary else dist.Normal(mean, sigma)
                pyro.sample("y", fn, obs=tasks.y)

    return model


def eight_schools(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        effect = pyro.sample("effect", dist.Normal(mu, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(effect, tasks.x["sigma"]), obs=tasks.y)


def rows(data, name: str):
    """Outcomes, columns and the task of each row."""
    if name == "radon":
        return data["y"], np.stack([np.ones_like(data["y"]), data["floor"]], 1), data["county"]
    return data["y"], data["x"], data["task"]


def tasks_of(data, name: str) -> bm.Tasks:
    if name == "eight_schools":
        return bm.Tasks.from_arrays(data["y"][:, None], x={"sigma": data["sigma"][:, None]})
    y, x, task = rows(data, name)
    chosen = [task == i for i in np.unique(task)]
    return bm.Tasks.from_list(y=[y[c] for c in chosen], x={"x": [x[c] for c in chosen]})


def main() -> None:
    path, theta, phi = sys.argv[1:]
    name = path.rsplit("/", 1)[-1].removesuffix(".npz")
    data = dict(np.load(path))
    tasks = tasks_of(data, name)
    unit = {"school": 10.0}.get(name, 1.0)
    model = eight_schools
    if name != "eight_schools":
        size = tasks.x["x"].shape[-1]
        model = regression(size, unit, theta == "Point", is_binary=name == "logistic")
    strategy = bm.NUTS(cores=1) if theta == "NUTS" else getattr(bm, theta)()
    start = time.perf_counter()
    post = bm.fit(model, tasks, theta=strategy, phi=getattr(bm, phi)(), progress=False)
    done = time.perf_counter()
    found = {"import": imported - began, "fit": done - start}
    if "tau_w" in post.theta:
        found["scales"] = post.theta["tau_w"].double().mean((0, 1)).tolist()
    if theta == "NUTS":
        import arviz

        values = [v.double().numpy() for v in post.theta.values()]
        found["sampling"] = post.seconds["sample"]
        found["ess"] = min(float(np.min(_ess(arviz, v))) for v in values)
    for note in post.notes:
        if told := re.search(r"effective size ([\d,]+)", note):
            found["sampling"] = done - start
            found["ess"] = float(told[1].replace(",", ""))
    print(json.dumps(found))


def _ess(arviz, draws):
    flat = draws.reshape(*draws.shape[:2], -1)
    return [float(arviz.ess(flat[..., k])) for k in range(flat.shape[-1])]


if __name__ == "__main__":
    main()
