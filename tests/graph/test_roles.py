"""What can be done with each site, in words that agree with what the strategies do."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import lecture
from tests.cases import EVERY


def said(name: str) -> dict[str, list[str]]:
    """The lines of each group of sites."""
    model, tasks, _ = EVERY[name]
    groups: dict[str, list[str]] = {}
    for line in bm.graph(model, tasks).roles().splitlines():
        if not line.startswith(" "):
            head, _, kind = line.partition(": ")
            groups[head] = [kind]
        else:
            groups[head].append(line.strip())
    return groups


@pytest.mark.parametrize(
    ("name", "site", "closed"),
    [
        ("eight_schools", "effect", True),
        ("linear", "w", True),
        ("logistic", "w", False),
        ("classifier", "phi", False),
        pytest.param("prototypes", "prototype", True, marks=pytest.mark.slow),
    ],
)
def test_marginalised_as_exact_says(name: str, site: str, closed: bool) -> None:
    lines = said(name)[site]
    start = "marginalised: yes, in closed form" if closed else "marginalised: to second order"
    assert any(line.startswith(start) for line in lines)
    assert any("amortised: yes, by a network that reads" in line for line in lines)
    model, tasks, _ = EVERY[name]
    theta = bm.Point(adam=bm.Adam(steps=1, compile=False))
    if closed:
        bm.fit(model, tasks, theta=theta, phi=bm.Exact(draws=1), progress=False)
    else:
        with pytest.raises(bm.StructureError, match="Gaussian"):
            bm.fit(model, tasks, theta=theta, phi=bm.Exact(draws=1), progress=False)


def test_every_kind_of_site() -> None:
    groups = said("rich")
    assert set(groups) == {
        "scale, width, mix, chol",
        "level",
        "gentle, soft",
        "pair, share, bend, within",
        "y",
    }
    assert "without a prior" in groups["level"][0]
    assert "marginalised: no, it has no prior" in groups["level"]
    assert "query" not in " ".join(said("classifier")["phi"])
    assert said("classifier")["y_query"][0] == "data, observed in training, predicted of new tasks"


def test_discrete_and_local_latents_are_told_why_not() -> None:
    tasks = bm.Tasks.from_arrays(torch.zeros(2, 3, dtype=torch.float64))

    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            kind = pyro.sample("kind", dist.Bernoulli(0.5))
            with pyro.plate("data", tasks.num_data, dim=-1):
                noise = pyro.sample("noise", dist.Normal(kind, 1.0))
                pyro.sample("y", dist.Normal(noise, 1.0), obs=tasks.y)

    found = bm.graph(model, tasks).roles()
    assert "kind: discrete, one a task" in found and "summed over its values" in found
    assert "noise: local, one a datapoint" in found and "phi=bm.Joint() alone" in found


def test_a_model_without_phi() -> None:
    assert bm.graph(lecture.datasets, lecture.tasks()).roles().startswith("y: data, observed")
    assert bm.graph(lecture.dataset, lecture.tasks(1)).roles().startswith("y: data, observed")
