"""What values were computed from: columns, through maps, without what only has their shape."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.running.handlers import run

TASKS = bm.Tasks.from_arrays(
    torch.zeros(3, 4), {"x": torch.ones(3, 4), "z": torch.zeros(3, 4), "w": torch.ones(3, 1)}
)

FORMS = {
    "a sum": (lambda p, x, z: p + x, {"x"}),
    "the shape alone": (lambda p, x, z: p + torch.zeros_like(x) + x.new_ones(4), set()),
    "the shape of another": (lambda p, x, z: p.expand_as(z) + x, {"x"}),
    "a map": (lambda p, x, z: torch.vmap(lambda a, b: a * b)(p, x), {"x"}),
    "a map with what it closes over": (lambda p, x, z: torch.vmap(lambda a: a * z[0])(p), {"z"}),
    "a map along other dimensions": (
        lambda p, x, z: torch.func.vmap(lambda a, b: a + b, in_dims=(None, 1), out_dims=1)(
            p[:, 0], x
        ),
        {"x"},
    ),
    "one of the outputs of a map": (
        lambda p, x, z: p + torch.vmap(lambda a, b: (a, b))(x, z)[0],
        {"x"},
    ),
    "a map in a map": (
        lambda p, x, z: torch.vmap(lambda a: torch.vmap(lambda b: torch.relu(b - 9.0))(a))(x) + p,
        {"x"},
    ),
}


@pytest.mark.parametrize(("form", "columns"), FORMS.values(), ids=FORMS)
def test_columns_are_followed(form, columns) -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                where = form(phi, tasks.x["x"], tasks.x["z"])
                pyro.sample("y", dist.Normal(where, 1.0), obs=tasks.y)

    site = run(model, TASKS, provenance=True)["y"]
    assert site.columns == columns
    assert site.provenance == {"phi"}
    assert type(site.log_prob) is Tensor


def test_torch_is_as_it_was_afterwards() -> None:
    before = torch.vmap
    with pytest.raises(KeyError):
        run(lambda tasks: tasks.x["none"], TASKS, provenance=True)
    assert torch.vmap is before and torch.func.vmap is before


def test_what_becomes_a_number_of_python_is_noted() -> None:
    def model(tasks: bm.Tasks) -> None:
        k = pyro.sample("k", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        shift = 1.0 if k.item() > 6 else 0.0
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(shift + b, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    sites = run(model, TASKS, provenance=True)
    assert [name for name, site in sites.items() if site.has_left] == ["k"]
    assert bm.structure(model, TASKS).nodes["phi"].parents == ("k", "b")
