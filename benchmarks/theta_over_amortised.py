"""Theta over an amortised phi beside NUTS: Gamma rates of 300 tasks of counts.

    python -m benchmarks.theta_over_amortised [STEPS]     6,000 steps take several minutes

Prints mean and sd of each number of theta by NUTS with phi=bm.Joint(), and by bm.Gaussian() with
phi=bm.Amortised() how far its mean is off in sds of NUTS, and its sd by that of NUTS.
"""

from __future__ import annotations

import sys

import numpy as np
import pyro
import pyro.distributions as dist
import torch

import bayesmeta as bm


def model(tasks: bm.Tasks) -> None:
    """Counts of each task at a rate of its own."""
    shape = pyro.sample("shape", dist.LogNormal(0.0, 1.0))
    rate = pyro.sample("rate", dist.LogNormal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Gamma(shape, rate))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Poisson(phi), obs=tasks.y)


def main() -> None:
    """Both, one after the other."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    rows = [rng.poisson(rng.gamma(2.0) / 0.5, size=rng.integers(1, 7)) for _ in range(300)]
    tasks = bm.Tasks.from_list([row.astype(float).tolist() for row in rows])
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 6000
    theta = bm.Gaussian(batch_size=100, adam=bm.Adam(lr=3e-3, steps=steps, patience=0))
    nuts = bm.fit(model, tasks, theta=bm.NUTS(chains=2), phi=bm.Joint(), progress=False)
    found = bm.fit(model, tasks, theta=theta, phi=bm.Amortised(), progress=False)
    for name, right in nuts.theta.items():
        off = (found.theta[name].mean() - right.mean()) / right.std()
        ratio = found.theta[name].std() / right.std()
        print(f"{name}: {right.mean():.3f} +- {right.std():.3f}, off {off:.2f}, sd {ratio:.2f}")
    print(found.diagnose())


if __name__ == "__main__":
    main()
