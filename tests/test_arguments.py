"""Every whole or real number that anything public takes is checked when it is given, by name."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means

NAN, INF = float("nan"), float("inf")
NO_NUMBER = (True, "3", torch.tensor(1), NAN, INF)
BAD = {"int": (1.5, -5, *NO_NUMBER), "float": NO_NUMBER}
# Fields that are data, or results.
HELD = {bm.Tasks, bm.Classes, bm.Posterior, bm.Prediction, bm.Comparison, bm.TaskScores, bm.Graph}
HELD |= {bm.SBC, bm.Study, bm.Studies, bm.Price, bm.Sensitivity, bm.PredictiveCalibration}
# What stands beside the argument in a call.
BESIDE: dict[tuple[str, str], dict[str, Any]] = {("FineTune", "patience"): {"held_out": 0.5}}


def kind_of(annotation: object) -> tuple[str, bool] | None:
    """Which number an annotation asks for, and whether None is one."""
    name, _, none = str(annotation).partition(" | ")
    return (name, none == "None") if name in BAD and none in ("", "None") else None


def strategies() -> list[type]:
    found = [getattr(bm, name) for name in bm.__all__]
    return [
        c for c in found if inspect.isclass(c) and dataclasses.is_dataclass(c) and c not in HELD
    ]


def fields() -> Iterator[tuple[type, str, str, bool]]:
    for owner in strategies():
        if not inspect.isabstract(owner):
            for field in dataclasses.fields(owner):
                if (kind := kind_of(field.type)) and field.init:
                    yield owner, field.name, *kind


def refuses(call: Callable[[], object], name: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert f"{name}=" in str(caught.value), caught.value


FIELDS = list(fields())


@pytest.mark.parametrize(
    ("owner", "name", "kind", "or_none"), FIELDS, ids=[f"{f[0].__name__}.{f[1]}" for f in FIELDS]
)
def test_fields_of_strategies_are_checked(owner: Any, name: str, kind: str, or_none: bool) -> None:
    beside = BESIDE.get((owner.__name__, name), {})
    for bad in (*BAD[kind], *(() if or_none else (None,))):
        refuses(lambda bad=bad: owner(**beside, **{name: bad}), name)
    if or_none:
        owner(**beside, **{name: None})


def test_a_field_that_is_forgotten_is_found() -> None:
    @dataclasses.dataclass(frozen=True)
    class Careless(bm.Mode):
        draws: int = 5

    with pytest.raises(pytest.fail.Exception):
        test_fields_of_strategies_are_checked(Careless, "draws", "int", False)


def test_there_are_as_many_as_one_thinks() -> None:
    assert len(FIELDS) > 70
    assert {"NUTS", "Adam", "HMC", "LowRank", "Refine"} <= {f[0].__name__ for f in FIELDS}


TASKS = normal_means.tasks(num_tasks=4, num_data=6, ragged=False)
CLASSES = bm.Classes(torch.zeros(12, 1, 2, 2), (6, 6), ("a", "b"))
KNOWN = bm.fit(
    normal_means.model,
    TASKS,
    theta=bm.Fixed({"mu": 0.0}),
    phi=bm.Exact(draws=30),
    progress=False,
)


def never(*args: object, **kwargs: object) -> Any:
    raise AssertionError("it began")


CALLS: dict[Any, dict[str, Any]] = {
    bm.fit: {"model": normal_means.model, "tasks": TASKS},
    bm.prior: {"model": normal_means.model, "tasks": TASKS},
    bm.cross_validate: {"infer": never, "tasks": TASKS},
    bm.search: {"candidate": never, "tasks": TASKS},
    bm.learning_curve: {
        "model": normal_means.model,
        "source": TASKS,
        "target": TASKS,
        "tasks": [2],
        "shots": [1],
    },
    bm.calibration: {"posterior": KNOWN, "query": TASKS},
    bm.leave_one_task_out: {"posterior": KNOWN},
    bm.simulate: {"model": normal_means.model, "tasks": TASKS},
    bm.sbc: {"model": normal_means.model, "tasks": TASKS},
    bm.price: {
        "model": normal_means.model,
        "tasks": TASKS,
        "pairs": [(bm.Point(), bm.Exact())],
        "progress": False,
    },
    bm.sensitivity: {"posterior": KNOWN},
    bm.information.entropy: {"posterior": KNOWN, "sites": "phi"},
    bm.information.mutual_information: {"posterior": KNOWN, "one": "phi", "other": "mu"},
    bm.information.conditional_entropy: {"posterior": KNOWN},
    bm.nets.nearness: {"place": torch.zeros(1), "grid": 4, "reach": 1.0},
    bm.nets.perceptron: {},
    bm.nets.TransductiveBatchNorm2d: {"channels": 2},
    TASKS.split: {"shots": 2},
    TASKS.widen: {},
    KNOWN.adapt: {"tasks": TASKS},
    KNOWN.predict: {},
    KNOWN.update: {"tasks": TASKS},
    CLASSES.episodes: {"num_tasks": 2, "ways": 2, "shots": 1, "queries": 1},
    CLASSES.shuffled: {},
    **{getattr(bm, p): {} for p in ("MAML", "FOMAML", "ANIL", "MetaSGD", "Reptile", "IMAML")},
    **{getattr(bm, p): {} for p in ("LLAMA", "ALPaCA", "R2D2", "NeuralProcess", "VERSA")},
    **{getattr(bm, f"{p}NeuralProcess"): {} for p in ("Attentive", "Conditional", "Convolutional")},
    bm.ProtoNet: {"shots": 1},
}


def arguments(call: Callable[..., object]) -> Iterator[tuple[str, str, bool]]:
    for name, parameter in inspect.signature(call).parameters.items():
        if (kind := kind_of(parameter.annotation)) and parameter.kind != parameter.VAR_POSITIONAL:
            yield name, *kind


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__qualname__)
def test_arguments_of_functions_are_checked(call: Any) -> None:
    for name, kind, or_none in arguments(call):
        if name == "checkpoint_seconds":
            continue  # inf never saves again; its own test is in training/test_store
        for bad in (*BAD[kind], *(() if or_none else (None,))):
            given = {**CALLS[call], name: bad}
            refuses(lambda given=given: call(**given), name.removeprefix("inner_"))


def test_no_public_function_is_forgotten() -> None:
    public = [getattr(bm, n) for n in bm.__all__]
    public += [getattr(part, n) for part in (bm.nets, bm.information) for n in part.__all__]
    takes = {f for f in public if inspect.isfunction(f) and list(arguments(f))}
    assert takes - set(CALLS) - {bm.nets.isolated} == set()


def test_lists_of_counts_are_checked() -> None:
    given = CALLS[bm.learning_curve]
    for name in ("tasks", "shots"):
        for bad in BAD["int"]:
            refuses(lambda bad=bad, n=name: bm.learning_curve(**{**given, n: [bad]}), name)
    for bad in (-1, 0, 2.5, "3"):
        refuses(lambda bad=bad: bm.nets.perceptron(3, bad, 1), "sizes")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", 3.5])
def test_a_device_that_torch_does_not_know_is_refused_by_name(device: Any) -> None:
    with pytest.raises(ValueError, match=r"device=.*give 'cpu' or 'cuda'"):
        bm.fit(normal_means.model, TASKS, device=device)
