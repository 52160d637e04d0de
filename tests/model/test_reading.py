"""What structure reads, and every model it refuses, in words that name site, plate and remedy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.model.structure import Role
from bayesmeta.models import normal_means
from tests.cases import RICH_TASKS, rich

Y = torch.arange(12, dtype=torch.float64).reshape(4, 3) / 5
SQUARE = torch.arange(9, dtype=torch.float64).reshape(3, 3) / 5
TASKS = bm.Tasks.from_arrays(Y, {"s": 1 + Y})
EQUAL = bm.Tasks.from_arrays(SQUARE, {"s": 1 + SQUARE})


def two_levels(
    likelihood: Callable[[Tensor, bm.Tasks], Any],
    *,
    obs: Callable[[bm.Tasks], Tensor | None] = lambda tasks: tasks.y,
    dims: tuple[int | None, int | None] = (-2, -1),
    size: int | None = None,
    names: tuple[str, str, str] = ("tasks", "data", "effect"),
) -> Callable[[bm.Tasks], None]:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate(names[0], tasks.num_tasks, dim=dims[0]):
            effect = pyro.sample(names[2], dist.Normal(0.0, 1.0))
            with pyro.plate(names[1], size or tasks.num_data, dim=dims[1]):
                pyro.sample("y", likelihood(effect, tasks), obs=obs(tasks))

    return model


def normal(effect: Tensor, tasks: bm.Tasks) -> Any:
    return dist.Normal(effect, 1.0)


def outside(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(effect, 1.0).expand([4, 3]), obs=tasks.y)


def in_tasks_only(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(effect, 1.0).expand([4, 3]).to_event(1), obs=tasks.y)


def data_only(tasks: bm.Tasks) -> None:
    with pyro.plate("data", tasks.num_data, dim=-1):
        pyro.sample("y", dist.Normal(0.0, 1.0).expand([4, 3]), obs=tasks.y)


def clash(tasks: bm.Tasks) -> None:
    pyro.sample("effect", dist.Normal(0.0, 1.0))
    two_levels(normal)(tasks)


def param_clash(tasks: bm.Tasks) -> None:
    two_levels(normal)(tasks)
    pyro.param("effect", torch.tensor(0.0))


def tied(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(effect, 1.0), obs=tasks.y)
    pyro.factor("sum_to_zero", -(effect.sum() ** 2))


def third_plate(tasks: bm.Tasks) -> None:
    with pyro.plate("houses", tasks.num_tasks, dim=-2):
        pyro.sample("a", dist.Normal(0.0, 1.0))
    two_levels(normal)(tasks)


def wide_phi(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        effect = pyro.sample("effect", dist.Normal(tasks.x["s"], 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(effect, 1.0), obs=tasks.y)


def feature_plate_name(tasks: bm.Tasks) -> None:
    with pyro.plate("features", 2, dim=-3):
        pyro.sample("features", dist.Normal(0.0, 1.0))
    two_levels(normal)(tasks)


def param_in_tasks(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        effect = pyro.param("effect", torch.zeros(4, 1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(effect, 1.0), obs=tasks.y)


def own_subsample(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, subsample_size=2, dim=-2):
        pyro.sample("effect", dist.Normal(0.0, 1.0))


def plates_of(size: Any = None, **order: Any) -> Callable[[bm.Tasks], None]:
    """Plates of a size and order that the model gives."""

    def model(tasks: bm.Tasks) -> None:
        count = tasks.num_tasks if size is None else size
        with pyro.plate("tasks", count, dim=-2, **order):
            effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(effect, 1.0), obs=tasks.y)

    return model


SWAPPED = two_levels(normal, dims=(-1, -2))
UNNUMBERED = two_levels(normal, dims=(None, None))
SQUEEZED = two_levels(lambda e, tasks: dist.Normal(e.squeeze(-1), 1.0))
X_SQUEEZED = two_levels(lambda e, tasks: dist.Normal(e, tasks.x["s"][:, 0]))
REFUSED = {
    "no observed site": (two_levels(normal, obs=lambda t: None), TASKS, ["no site is", "tasks.y"]),
    "no tasks plate": (
        two_levels(normal, names=("groups", "data", "e")),
        TASKS,
        ["'tasks'", "groups", "dim=-2"],
    ),
    "data plate only": (data_only, TASKS, ["'tasks'", "dim=-2"]),
    "outside": (outside, TASKS, ["'y'", "outside the plate 'tasks'", "dim=-2"]),
    "in tasks only": (in_tasks_only, TASKS, ["y", "'tasks'", "dim=-1"]),
    "swapped": (SWAPPED, TASKS, ["'y'", "'tasks' (dim=-1", "dim=-2", "Write with"]),
    "swapped, equal": (SWAPPED, EQUAL, ["'tasks' has dim=-1", "expected dim=-2", "write with"]),
    "unnumbered": (UNNUMBERED, TASKS, ["'y'", "'tasks' (dim=-1", "dim=-2", "Write with"]),
    "unnumbered, equal": (UNNUMBERED, EQUAL, ["'tasks' has dim=-1", "dim=-2", "write with"]),
    "squeezed, equal": (SQUEEZED, EQUAL, ["'y'", "'effect'", "do not squeeze"]),
    "x squeezed, equal": (X_SQUEEZED, EQUAL, ["'y'", "x['s']", "do not squeeze"]),
    "x squeezed": (X_SQUEEZED, TASKS, ["(4, 3)", "dim=-1"]),
    "plate size": (two_levels(normal, size=5), TASKS, ["'y'", "(4, 5)", "(4, 3)", "size 5"]),
    "plate size one": (two_levels(normal, size=1), TASKS, ["'y'", "size 1", "tasks.num_data"]),
    "y (tasks,)": (two_levels(normal, obs=lambda t: t.y[:, 0]), TASKS, ["'y'", "(4,)", "(4, 3)"]),
    "y (tasks,), equal": (
        two_levels(normal, obs=lambda t: t.y[:, 0]),
        EQUAL,
        ["'y'", "(3,)", "(3, 3)", "broadcast"],
    ),
    "y (tasks, 1)": (
        two_levels(normal, obs=lambda t: t.y[:, :1]),
        TASKS,
        ["'y'", "(4, 1)", "(4, 3)", "broadcast", "Give obs=tasks.y"],
    ),
    "clash": (clash, TASKS, ["'effect'", "give each its own name"]),
    "clash with a parameter": (param_clash, TASKS, ["'effect'", "give each its own name"]),
    "reserved": (two_levels(normal, names=("tasks", "data", "draw")), TASKS, ["'draw'", "rename"]),
    "plate's name": (feature_plate_name, TASKS, ["'features'", "rename"]),
    "tied tasks": (tied, TASKS, ["'sum_to_zero'", "'effect'", "independent given theta"]),
    "third plate": (third_plate, TASKS, ["'a'", "'houses'", "dim=-3"]),
    "x in a prior": (wide_phi, TASKS, ["'effect'", "(4, 3)", "4, 1", "(tasks, 1)"]),
    "param in tasks": (param_in_tasks, TASKS, ["'effect'", "pyro.sample"]),
    "own subsample": (own_subsample, TASKS, ["'tasks'", "subsample_size"]),
    "too large a subsample": (plates_of(subsample_size=10), TASKS, ["'tasks'", "subsample_size"]),
    "permuted": (
        plates_of(subsample=torch.tensor([2, 0, 1, 3])),
        TASKS,
        ["'tasks'", "order", "drop subsample="],
    ),
    "out of range": (plates_of(subsample=torch.tensor([0, 1, 2, 9])), TASKS, ["drop subsample="]),
    "listed": (plates_of(subsample=[1, 0, 2, 3]), TASKS, ["'tasks'", "drop subsample="]),
    "float size": (plates_of(4.0), TASKS, ["'tasks'", "size 4.0", "tasks.num_tasks"]),
    "size 2.5": (plates_of(2.5), TASKS, ["size 2.5", "whole number"]),
    "size 0": (plates_of(0), TASKS, ["size 0", "at least 1"]),
    "size -1": (plates_of(-1), TASKS, ["size -1", "at least 1"]),
    "bernoulli 2": (
        two_levels(lambda e, t: dist.Bernoulli(logits=e)),
        bm.Tasks.from_arrays(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), names=["a", "b"]),
        ["'y' is 2.0 at task 'b', row 0 of that task", "Bernoulli", "recode"],
    ),
    "negative poisson": (
        two_levels(lambda e, t: dist.Poisson(e.exp())),
        bm.Tasks.from_arrays(torch.tensor([[3.0, -1.0], [2.0, 1.0]])),
        ["'y' is -1.0 at task '0', row 1", "Poisson"],
    ),
    "missing y": (two_levels(normal), TASKS.without_y(), ["no y", "predict"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_names_and_remedy(case: str) -> None:
    model, tasks, words = REFUSED[case]
    with pytest.raises(bm.StructureError) as caught:
        bm.structure(model, tasks)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("case", REFUSED)
def test_fit_refuses_before_any_inference(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("inference began")

    monkeypatch.setattr(bm.Point, "fit", never)
    model, tasks, _ = REFUSED[case]
    with pytest.raises(bm.StructureError):
        bm.fit(model, tasks, theta=bm.Point(), progress=False)


def test_plates_in_their_own_order_are_all_the_tasks() -> None:
    order = plates_of(subsample=torch.arange(4), subsample_size=4)
    known = {"theta": bm.Fixed({}), "phi": bm.Laplace(draws=5), "progress": False}
    found, plain = (bm.fit(model, TASKS, **known).phi["effect"] for model in (order, plates_of()))
    torch.testing.assert_close(found, plain, rtol=0, atol=0)


def no_phi(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    by_task, by_row = pyro.plate("tasks", tasks.num_tasks, dim=-2), pyro.plate("data", 3, dim=-1)
    with by_task, by_row:
        pyro.sample("y", dist.Normal(mu, 1.0), obs=tasks.y)


def discrete(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        kind = pyro.sample("kind", dist.Bernoulli(0.5))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(kind, 1.0), obs=tasks.y)


def local(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            noise = pyro.sample("noise", dist.Normal(effect, 1.0))
            pyro.sample("y", dist.Normal(noise, 1.0), obs=tasks.y)


@pytest.mark.parametrize(
    ("model", "phi", "words"),
    [
        (no_phi, bm.GradientSteps(), ["'tasks'", "bm.GradientSteps", "bm.Joint()"]),
        (discrete, bm.Laplace(), ["'tasks'", "continuous", "bm.Joint()"]),
        (local, bm.Laplace(), ["'noise'", "'data'", "bm.Joint()"]),
    ],
)
def test_refused_by_the_strategy(model: Any, phi: Any, words: list[str]) -> None:
    bm.structure(model, TASKS)
    with pytest.raises(bm.StructureError) as caught:
        bm.fit(model, TASKS, theta=bm.Point(), phi=phi, progress=False)
    for word in words:
        assert word in str(caught.value)


def test_a_single_task_is_warned_of() -> None:
    theta = bm.Point(adam=bm.Adam(steps=2))
    with pytest.warns(UserWarning, match=r"single task.*prior alone"):
        bm.fit(normal_means.model, normal_means.tasks(num_tasks=1), theta=theta, progress=False)


def test_roles_and_parents_of_every_kind_of_site() -> None:
    found = bm.structure(rich, RICH_TASKS)
    assert found.theta == ("scale", "width", "mix", "chol", "level")
    assert found.phi == ("pair", "share", "bend", "within")
    assert found.data == ("y",)
    assert found.nodes["soft"].role is Role.FACTOR
    assert found.nodes["mean"].role is Role.DETERMINISTIC
    parents = {name: set(node.parents) for name, node in found.nodes.items()}
    assert parents == {
        "scale": set(),
        "width": {"scale"},
        "mix": set(),
        "chol": set(),
        "level": set(),
        "gentle": {"scale"},
        "pair": {"chol"},
        "share": {"mix"},
        "bend": {"scale"},
        "within": {"width"},
        "mean": {"pair", "share", "bend", "within"},
        "soft": {"within"},
        "y": {"pair", "share", "bend", "within", "level"},
    }


def test_the_table_shows_site_role_plates_shape_and_parents() -> None:
    lines = str(bm.structure(normal_means.model, normal_means.tasks())).splitlines()
    assert lines[0].split() == ["site", "role", "plates", "shape", "distribution", "parents"]
    assert lines[3].split() == ["phi", "phi", "tasks", "(8,", "1)", "Normal", "mu"]
    assert lines[4].split() == ["y", "data", "tasks,", "data", "(8,", "5)", "Normal", "phi"]


def test_a_bound_that_is_latent_is_no_support_error() -> None:
    model = two_levels(lambda e, t: dist.Uniform(-1.0, 100.0 * e.exp()))
    assert bm.structure(model, TASKS).data == ("y",)


def test_matrices_of_the_tasks_size_are_no_tasks() -> None:
    """A deterministic (tasks, 1, 2, 2) beside two tasks is not read as another task's value."""

    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
            pyro.deterministic("outer", effect[..., None, None] * torch.ones(2, 2))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(effect, 1.0), obs=tasks.y)

    assert bm.structure(model, TASKS[:2]).phi == ("effect",)


def test_a_factor_is_no_outcome() -> None:
    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.factor("penalty", -(phi**2))
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    tasks = bm.Tasks.from_arrays([[1.0, 2.0], [0.0, 1.0]])
    assert bm.structure(model, tasks).data == ("y",)
    assert bm.prior(model, tasks, draws=3).predict().draws.shape == (1, 3, 2, 2)


def test_what_is_no_model_or_no_tasks_is_refused_by_type() -> None:
    tasks = bm.Tasks.from_arrays([[1.0, 2.0], [0.0, 1.0]])
    with pytest.raises(TypeError, match=r"tasks is a list, but bm\.Tasks is expected"):
        bm.structure(lambda tasks: None, [[1.0]])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"query is a list, but bm\.Tasks is expected"):
        bm.fit(normal_means.model, tasks, query=[[1.0]], progress=False)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a function of one argument, the tasks"):
        bm.fit(lambda: None, tasks, progress=False)
    with pytest.raises(TypeError, match=r"family='full'; give bm\.MeanField\(\)"):
        bm.Gaussian(family="full")  # type: ignore[arg-type]


def test_many_tasks_are_read_as_few_are_and_still_checked_one_by_one() -> None:
    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                rate = torch.sigmoid(phi + tasks.x["x"])
                pyro.sample("y", dist.Bernoulli(rate), obs=tasks.y)

    y, x = torch.ones(2000, 2), torch.ones(2000, 2)
    many = bm.structure(model, bm.Tasks.from_arrays(y, x={"x": x}))
    few = bm.structure(model, bm.Tasks.from_arrays(y[:20], x={"x": x[:20]}))
    for name, node in many.nodes.items():
        assert (node.role, node.parents, node.inputs) == (
            few.nodes[name].role,
            few.nodes[name].parents,
            few.nodes[name].inputs,
        )
    assert many.nodes["phi"].shape == (2000, 1)
    y[1999, 1] = 3.0
    with pytest.raises(bm.StructureError, match=r"'y'.*1999"):
        bm.structure(model, bm.Tasks.from_arrays(y, x={"x": x}))


def test_a_model_that_holds_data_of_all_its_tasks_is_read_on_all_of_them() -> None:
    shift = torch.zeros(600, 1)

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu + shift, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    read = bm.structure(model, bm.Tasks.from_arrays(torch.zeros(600, 2)))
    assert read.nodes["y"].parents == ("phi",)


def binary(tasks):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, 1.0).expand([2]).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Bernoulli(logits=phi.sum(-1)), obs=tasks.y)


def test_of_very_many_tasks_some_are_read_and_all_are_checked() -> None:
    y = torch.zeros(3001, 2)
    few, many = (bm.Tasks.from_arrays(y[:n]) for n in (3, 3001))
    assert len(few.sample()) == 3 and len(many.sample()) < 1000
    found = bm.structure(binary, many)
    assert found.nodes["phi"].shape == (3001, 1, 2)
    assert {plate.size for plate in found.nodes["y"].plates} == {3001, 2}
    y[-2, 1] = 2.0
    with pytest.raises(bm.StructureError, match="task '2999'"):
        bm.structure(binary, bm.Tasks.from_arrays(y))


@pytest.mark.parametrize("num_tasks", [4, 3001])
def test_outcomes_beyond_a_bound_are_refused_only_where_it_is_known(num_tasks: int) -> None:
    def model(tasks: bm.Tasks, is_known: bool) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            reach = pyro.sample("reach", dist.Exponential(1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Uniform(-2.0, 2.0 if is_known else 2.0 + reach), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(torch.full((num_tasks, 2), 3.0))
    assert bm.structure(partial(model, is_known=False), tasks).phi == ("reach",)
    with pytest.raises(bm.StructureError, match=r"'y' is 3.0 at task '0', row 0"):
        bm.structure(partial(model, is_known=True), tasks)


@pytest.mark.parametrize(("first", "ok"), [(0.0, True), (3.0, False), (-1.0, False)])
def test_classes_numbered_otherwise_are_named(first: float, ok: bool) -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Categorical(logits=phi), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(torch.tensor([[0.0, 1.0], [2.0, 0.0]]) + first)
    if ok:
        assert bm.structure(model, tasks).data == ("y",)
        return
    message = (
        rf"y has values from {first:g} to {first + 2:g}, but site 'y' takes .*upper_bound=2.*; "
        "number classes 0, 1, "
    )
    with pytest.raises(bm.StructureError, match=message):
        bm.structure(model, tasks)
