"""Simulation-based calibration of theta, phi and log likelihood, by the gamma statistic.

    python -m benchmarks.calibration --simulations 1000

Theta, phi and data are drawn from the model again and again, and each time a posterior is fitted.
Where posteriors are right, the rank of the true value among draws is uniform (Talts et al. 2018):
for theta, for the phi of a task, and for the log likelihood of the data (Modrak et al. 2023). The
gamma statistic is the smallest tail probability of the ranks' distribution function anywhere
(Sailynoja, Buerkner & Vehtari 2022); small p means that uniformity is refused. As the negative
control the same draws are shrunk towards their mean by 0.8.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from functools import partial

import numpy as np
import torch
from scipy import stats

import bayesmeta as bm
from bayesmeta.models import normal_means

DRAWS = 99
# Of the draws around their mean: as they are, and the negative control.
SHRINK = (1.0, 0.8)
QUANTITIES = ("theta", "phi", "log likelihood")


def ranks_of(seed: int, theta: bm.Gaussian, phi: bm.Amortised) -> list[list[int]]:
    """How many of the draws are below the truth, by SHRINK and by quantity."""
    truth = normal_means.truth(5, seed)
    tasks = normal_means.tasks(5, 4, seed)
    post = bm.fit(normal_means.model, tasks, theta=theta, phi=phi, seed=seed, progress=False)
    density = post.density

    def at(values: dict[str, torch.Tensor]) -> torch.Tensor:
        return density.terms_at(values, tasks).data.sum()

    draws = {"mu": post.theta["mu"][0], "phi": post.phi["phi"][0]}
    ranks = []
    for shrink in SHRINK:
        kept = {n: v.mean(0) + shrink * (v - v.mean(0))[:DRAWS] for n, v in draws.items()}
        scores = [at({n: v[k] for n, v in kept.items()}) for k in range(DRAWS)]
        found = (
            (kept["mu"], truth["mu"]),
            (kept["phi"][:, 0], truth["phi"][0]),
            (torch.stack(scores), at(truth)),
        )
        ranks.append([int((values < true).sum()) for values, true in found])
    return ranks


def gamma(ranks: np.ndarray, draws: int) -> float:
    """Twice the smallest tail probability of the ranks' counts, over all cuts; (simulations,)."""
    cuts = np.arange(1, draws + 1)
    below = (ranks[:, None] < cuts).sum(0)
    found = stats.binom(len(ranks), cuts / (draws + 1))
    return float(2 * np.minimum(found.cdf(below), found.sf(below - 1)).min())


def p_value(ranks: np.ndarray, draws: int, repeats: int = 20_000) -> float:
    """How often uniform ranks have a gamma as small."""
    rng = np.random.default_rng(0)
    uniform = rng.integers(0, draws + 1, (repeats, len(ranks)))
    null = np.array([gamma(row, draws) for row in uniform])
    return float((null <= gamma(ranks, draws)).mean())


def main() -> None:
    """Simulate, fit and test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=800, help="of training, a simulation")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    adam = bm.Adam(lr=1e-2, steps=args.steps, patience=0, compile=False)
    theta, phi = bm.Gaussian(adam=adam, draws=1000), bm.Amortised()
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(
        args.processes, torch.set_num_threads, (1,)
    ) as pool:
        job = partial(ranks_of, theta=theta, phi=phi)
        ranks = np.array(pool.map(job, range(args.simulations), chunksize=5))
    for shrink, of_shrink in zip(SHRINK, ranks.transpose(1, 2, 0), strict=True):
        print(f"sd times {shrink}, {args.simulations} simulations:")
        for name, row in zip(QUANTITIES, of_shrink, strict=True):
            print(f"  {name:15s} p = {p_value(row, DRAWS):.5f}")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
