"""The three posteriors that every contestant samples: their data, and the quantities scored.

eight_schools  mu ~ N(0, 5), tau ~ HalfCauchy(5), z_i ~ N(0, 1), effect_i = mu + tau z_i
               y_i ~ N(effect_i, sigma_i)
radon          mu_alpha, mu_beta ~ N(0, 10), tau_alpha, tau_beta, sigma ~ HalfNormal(1)
               alpha_i = mu_alpha + tau_alpha z_alpha_i, beta_i likewise, z ~ N(0, 1)
               y_ij ~ N(alpha_i + beta_i floor_ij, sigma)
logistic       mu_k ~ N(0, 2), tau_k ~ HalfNormal(1), w_i = mu + tau z_i, z ~ N(0, 1)
               y_ij ~ Bernoulli(sigmoid(x_ij . w_i))

All three are sampled noncentred, the better form here, and scored on the shared parameters and on
the parameters of each task (effect, alpha and beta, w).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float64]]
_RADON_CSV = Path(__file__).parents[1] / "models" / "data" / "radon_mn.csv"


@dataclass(frozen=True)
class Problem:
    """A name and the arrays a contestant gets."""

    name: str
    data: Arrays

    def save(self, path: Path) -> None:
        """Write to an npz file, for a contestant's process."""
        np.savez(path, **self.data)  # type: ignore[arg-type]

    @staticmethod
    def load(path: Path) -> Problem:
        """Read what `save` wrote; the file's stem is the problem's name."""
        with np.load(path) as arrays:
            return Problem(path.stem, dict(arrays))


def eight_schools() -> Problem:
    """Rubin (1981): y and sigma of shape (schools,)."""
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    return Problem("eight_schools", {"y": y, "sigma": sigma})


def radon() -> Problem:
    """Minnesota: y, floor and county (its number) of shape (houses,)."""
    with _RADON_CSV.open() as file:
        rows = list(csv.DictReader(file))
    number = {name: i for i, name in enumerate(dict.fromkeys(row["county"] for row in rows))}
    county = np.array([float(number[row["county"]]) for row in rows])
    floor = np.array([float(row["floor"]) for row in rows])
    y = np.array([float(row["log_radon"]) for row in rows])
    return Problem("radon", {"y": y, "floor": floor, "county": county})


def logistic(num_tasks: int = 200, num_data: int = 20, num_features: int = 5) -> Problem:
    """Simulated from the prior, seed 0: x (tasks, data, features) and y (tasks, data)."""
    rng = np.random.default_rng([0, 0])
    mu = rng.normal(0.0, 2.0, num_features)
    tau = np.abs(rng.normal(0.0, 1.0, num_features))
    w = rng.normal(mu, tau, (num_tasks, num_features))
    rng = np.random.default_rng([0, 1])
    x = rng.normal(size=(num_tasks, num_data, num_features))
    probability = 1.0 / (1.0 + np.exp(-np.einsum("ijk,ik->ij", x, w)))
    y = (rng.random((num_tasks, num_data)) < probability).astype(np.float64)
    return Problem("logistic", {"x": x, "y": y})


def logistic_rows() -> Problem:
    """The same, row by row: y and task of shape (rows,), x (rows, features)."""
    data = logistic().data
    tasks, each, features = data["x"].shape
    task = np.repeat(np.arange(float(tasks)), each)
    x, y = data["x"].reshape(-1, features), data["y"].ravel()
    return Problem("logistic", {"x": x, "y": y, "task": task})


def school(rows: int = 15_362, num_tasks: int = 139, num_features: int = 28) -> Problem:
    """Simulated, of the size of the London school data of Bakker & Heskes (2003), row by row.

    An intercept and 27 indicators, with slopes of each school: y and task of shape (rows,), x
    (rows, features).
    """
    rng = np.random.default_rng([0, 2])
    share = rng.gamma(4.0, 1.0, num_tasks)
    extra = rng.multinomial(rows - 22 * num_tasks, share / share.sum())
    task = np.repeat(np.arange(float(num_tasks)), 22 + extra)
    x = (rng.random((rows, num_features)) < rng.uniform(0.05, 0.5, num_features)).astype(float)
    x[:, 0] = 1.0
    mu, tau = rng.normal(0.0, 3.0, num_features), np.abs(rng.normal(0.0, 1.5, num_features))
    mu[0] = 20.0
    w = rng.normal(mu, tau, (num_tasks, num_features))
    y = (x * w[task.astype(int)]).sum(1) + rng.normal(0.0, 10.0, rows)
    return Problem("school", {"x": x, "y": y, "task": task})


# Per problem: the parameter of each task, from which mean, scale and standard normal it comes.
_NONCENTRED = {
    "eight_schools": {"effect": ("mu", "tau", "z")},
    "radon": {
        "alpha": ("mu_alpha", "tau_alpha", "z_alpha"),
        "beta": ("mu_beta", "tau_beta", "z_beta"),
    },
    "logistic": {"w": ("mu", "tau", "z")},
}


def scored(problem: str, draws: Arrays) -> Arrays:
    """The scored quantities, (chain, draw, ...): noncentred draws get their tasks' parameters.

    A contestant that returns the tasks' parameters itself is left as it is.
    """
    result = dict(draws)
    for name, (mean, scale, standard) in _NONCENTRED[problem].items():
        if standard in result:
            # A shared parameter is (chain, draw, ...); give it the axis of the tasks.
            result[name] = draws[mean][:, :, None] + draws[scale][:, :, None] * result.pop(standard)
    return result
