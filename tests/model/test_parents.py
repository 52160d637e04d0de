"""Edges are found through vmap and networks, and none is reported that does not exist."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.reparam import LocScaleReparam

import bayesmeta as bm

TASKS = bm.Tasks.from_arrays(
    torch.arange(6, dtype=torch.float64).reshape(3, 2),
    {"a": torch.ones(3, 2, dtype=torch.float64), "unread": torch.ones(3, 1), "k": [[0], [1], [1]]},
)


def test_edges_through_vmap() -> None:
    def model(tasks: bm.Tasks) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("unused", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
            mean = torch.vmap(lambda e: e * w[0] + w[1])(effect)
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(mean + tasks.x["a"], 1.0), obs=tasks.y)

    node = bm.structure(model, TASKS).nodes["y"]
    assert node.parents == ("w", "effect")
    assert node.inputs == ("a",)


def test_edges_through_a_network() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    net.double()

    def model(tasks: bm.Tasks) -> None:
        pyro.module("net", net)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
            other = pyro.sample("other", dist.Normal(0.0, 1.0))
            pyro.deterministic("shown", other**2)
            mean = net(effect[..., None])[..., 0]
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)

    before = list(net.parameters())
    found = bm.structure(model, TASKS)
    weights = tuple(f"net$$${name}" for name, _ in net.named_parameters())
    assert found.theta == weights
    assert found.nodes["y"].parents == (*weights, "effect")
    assert found.nodes["shown"].parents == ("other",)
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))


def test_flat_points_and_integer_columns() -> None:
    """A ReLU that is flat where it stands still is an edge; so is an integer column."""

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        level = pyro.sample("level", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            effect = pyro.sample("effect", dist.Normal(torch.relu(mu - 100.0), 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = effect + level[tasks.x["k"]]
                pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)

    nodes = bm.structure(model, TASKS).nodes
    assert nodes["effect"].parents == ("mu",)
    assert nodes["y"].parents == ("level", "effect")
    assert nodes["y"].inputs == ("k",)


def test_a_chain_is_not_closed() -> None:
    def model(tasks: bm.Tasks) -> None:
        a = pyro.sample("top", dist.Normal(0.0, 1.0))
        b = pyro.sample("middle", dist.Normal(a, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            c = pyro.sample("effect", dist.Normal(b, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(c, 1.0), obs=tasks.y)

    nodes = bm.structure(model, TASKS).nodes
    assert {n: node.parents for n, node in nodes.items()} == {
        "top": (),
        "middle": ("top",),
        "effect": ("middle",),
        "y": ("effect",),
    }


def test_a_deterministic_site_stands_between_where_the_model_goes_on_with_it() -> None:
    def model(tasks: bm.Tasks, used: bool) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            phi = mu + z
            shown = pyro.deterministic("phi", phi)
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = (shown if used else phi) + tasks.x["a"]
                pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)

    for used, parents in ((True, ("phi",)), (False, ("mu", "z"))):
        nodes = bm.structure(lambda tasks, used=used: model(tasks, used), TASKS).nodes
        assert nodes["phi"].parents == ("mu", "z")
        assert nodes["y"].parents == parents
        assert nodes["y"].inputs == ("a",)


def test_tasks_tied_through_a_deterministic_site_are_refused() -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
        total = pyro.deterministic("total", z.sum())
        pyro.sample("tie", dist.Normal(total, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):  # noqa: SIM117
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(z, 1.0), obs=tasks.y)

    with pytest.raises(bm.StructureError, match=r"'tie'.*reads 'z'"):
        bm.structure(model, TASKS)


def test_an_outcome_is_a_parent_of_what_reads_it() -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                first = pyro.sample("first", dist.Normal(z, 1.0), obs=tasks.y)
                pyro.sample("second", dist.Normal(first, 1.0), obs=tasks.x["a"])

    nodes = bm.structure(model, TASKS).nodes
    assert nodes["first"].parents == ("z",)
    assert nodes["second"].parents == ("first",)


def test_edges_from_a_deterministic_site_through_vmap_and_reparam() -> None:
    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        eps = pyro.sample("eps", dist.Normal(0.0, 1.0))
        w = pyro.deterministic("w", mu + eps)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            mean = torch.vmap(lambda e: e * w.detach())(phi)
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)

    nodes = bm.structure(model, TASKS).nodes
    assert nodes["y"].parents == ("w", "phi")
    moved = pyro.poutine.reparam(model, config={"phi": LocScaleReparam(0.5)})
    nodes = bm.structure(moved, TASKS).nodes
    assert nodes["y"].parents == ("w", "phi")
    assert nodes["phi"].parents == ("mu", "phi_decentered")


def model_of(reads) -> Callable[[bm.Tasks], None]:
    """y around phi plus a function of the column "c"."""

    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                where = reads(phi, tasks.x["c"])
                pyro.sample("y", dist.Normal(where, 1.0), obs=tasks.y)

    return model


LEVELS = torch.linspace(0.0, 1.0, 5)
GROUPS = torch.arange(5.0).expand(4, 5).contiguous()
COLUMNS = {
    "years, as an index": (lambda p, c: p + LEVELS[(c - 2000).long()], GROUPS + 2000),
    "categories held as floats": (lambda p, c: p + LEVELS[c.long()], GROUPS),
    "one category": (lambda p, c: p + LEVELS[c.long()], torch.full((4, 5), 2.0)),
    "a condition that always holds": (lambda p, c: torch.where(c.bool(), p, -p), torch.ones(4, 5)),
    "nothing but zeros": (lambda p, c: p + c, torch.zeros(4, 5)),
    "a threshold beyond the data": (lambda p, c: torch.where(c > 100, p, -p), GROUPS),
    "chances": (lambda p, c: p + (1 - c**2).sqrt(), torch.full((4, 5), 0.9)),
    "a dead unit in a map": (
        lambda p, c: torch.vmap(lambda a, b: torch.relu(a + b - 99))(p, c),
        GROUPS,
    ),
    "sorted times": (
        lambda p, c: p + torch.searchsorted(c.contiguous(), c.contiguous()).double(),
        GROUPS + 0.5,
    ),
    "in numpy": (lambda p, c: p + torch.from_numpy(np.sin(c.numpy())), GROUPS),
}


@pytest.mark.parametrize(("reads", "column"), COLUMNS.values(), ids=COLUMNS)
def test_columns_are_probed_with_values_that_they_have(reads, column) -> None:
    seen: list[torch.Tensor] = []

    def watched(phi: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        seen.append(c.detach())
        return reads(phi, c)

    tasks = bm.Tasks.from_arrays(torch.randn(4, 5), {"c": column})
    assert bm.structure(model_of(watched), tasks).nodes["y"].inputs == ("c",)
    assert all(c.min() >= column.min() and c.max() <= column.max() for c in seen)
    assert all(c.dtype == seen[0].dtype for c in seen)


@pytest.mark.parametrize(
    "kind", [lambda c: c > 2, lambda c: c.long(), lambda c: c > 99, lambda c: c * 0 + 2.0]
)
def test_a_deterministic_site_is_probed_with_values_of_its_kind(kind) -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                i = pyro.deterministic("i", kind(tasks.x["c"]))
                where = phi + (
                    torch.where(i, 1.0, 0.0) if i.dtype == torch.bool else LEVELS[i.long()]
                )
                pyro.sample("y", dist.Normal(where, 1.0), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(torch.randn(4, 5), {"c": GROUPS})
    nodes = bm.structure(model, tasks).nodes
    assert nodes["y"].parents == ("phi", "i") and nodes["i"].inputs == ("c",)
    assert not nodes["y"].inputs


def test_of_what_is_put_into_one_tensor_only_the_part_that_is_read_is_a_parent() -> None:
    def model(tasks: bm.Tasks) -> None:
        a, b = (pyro.sample(n, dist.Normal(0.0, 1.0)) for n in "ab")
        both = torch.stack([a, b])
        design = torch.stack([torch.ones_like(tasks.x["c"]), tasks.x["c"], tasks.x["d"]], -1)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(both[0], 1.0))
            # A dead unit, and a threshold that no draw reaches, read what they read.
            psi = pyro.sample("psi", dist.Normal(torch.relu(both[1] - 99), 1.0))
            far = pyro.sample("far", dist.Normal(torch.where(both[0] > 99, 1.0, 0.0), 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                where = phi + psi + far + design[..., 1]
                pyro.sample("y", dist.Normal(where, 1.0), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(torch.randn(4, 5), {"c": GROUPS, "d": torch.ones(4, 5)})
    nodes = bm.structure(model, tasks).nodes
    assert nodes["phi"].parents == ("a",) and nodes["psi"].parents == ("b",)
    assert nodes["far"].parents == ("a",) and nodes["y"].inputs == ("c",)
