"""Radon in Minnesota with contextual effects: the inference gym's model and its reference.

    county_effect_i ~ N(county_effect_mean, county_effect_scale)
    y_ij ~ N(county_effect_i + w_0 log_uranium_i + w_1 floor_ij + w_2 floor_by_county_i,
             log_radon_scale)

Both scales are Uniform(0, 100) a priori in `model` and HalfNormal(1) in `model_halfnormal`; the
mean and the weights are N(0, 1). REFERENCE and REFERENCE_HALFNORMAL hold each site's posterior mean
and sd, county effects in the order of `tasks().names`: Stan runs published in TensorFlow
Probability's inference gym (Apache-2.0). See data/README.md.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

import bayesmeta as bm

from .radon import frame

_CSV = Path(__file__).parent / "data" / "radon_contextual_reference.csv"

Reference = dict[str, tuple[Tensor, Tensor]]


def model(tasks: bm.Tasks) -> None:
    """A county effect beside three shared weights; both scales uniform."""
    _contextual(tasks, dist.Uniform(0.0, 100.0))


def model_halfnormal(tasks: bm.Tasks) -> None:
    """A county effect beside three shared weights; both scales half-normal."""
    _contextual(tasks, dist.HalfNormal(1.0))


def _contextual(tasks: bm.Tasks, scale_prior: TorchDistributionMixin) -> None:
    mean = pyro.sample("county_effect_mean", dist.Normal(0.0, 1.0))
    scale = pyro.sample("county_effect_scale", scale_prior)
    noise = pyro.sample("log_radon_scale", scale_prior)
    weight = pyro.sample("weight", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    x = tasks.x
    shared = (
        weight[..., 0] * x["log_uranium"]
        + weight[..., 1] * x["floor"]
        + weight[..., 2] * x["floor_by_county"]
    )
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        county_effect = pyro.sample("county_effect", dist.Normal(mean, scale))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(shared + county_effect, noise), obs=tasks.y)


def tasks() -> bm.Tasks:
    """`radon.tasks()` with x["floor_by_county"], the county's mean of floor, of shape (85, 1)."""
    houses = frame()
    houses["floor_by_county"] = houses.groupby("county")["floor"].transform("mean")
    return bm.Tasks.from_frame(
        houses,
        task="county",
        y="log_radon",
        x=["floor"],
        task_x=["log_uranium", "floor_by_county"],
    )


def _reference(scale_prior: str) -> Reference:
    """Posterior mean and sd of each site under one of the file's two priors of the scales."""
    moments: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with _CSV.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["scale_prior"] == scale_prior:
                moments[row["site"]].append((float(row["mean"]), float(row["sd"])))
    stacked = {site: torch.tensor(rows, dtype=torch.float64) for site, rows in moments.items()}
    # A scalar site has one row; the others keep their axis.
    squeezed = {site: rows[0] if len(rows) == 1 else rows for site, rows in stacked.items()}
    return {site: (rows[..., 0], rows[..., 1]) for site, rows in squeezed.items()}


REFERENCE = _reference("uniform")
REFERENCE_HALFNORMAL = _reference("halfnormal")
