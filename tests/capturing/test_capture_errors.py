"""Values that would be frozen in a graph are refused, and errors blame what is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.capturing.capture import capture, value_and_gradient

X = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)
CONSTANT = torch.tensor([1.0, 4.0], dtype=torch.float64)

READS_VALUES: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: torch.tensor([x[0], 0.5]),
    "by name": lambda x: torch.tensor(data=(x[0], 0.5)),
    "nested": lambda x: torch.tensor([[0.5], [x[0]]]),
    "as_tensor": lambda x: torch.as_tensor([x[0], x[1]]),
    "new_tensor": lambda x: x.new_tensor([x[0], 2.0]),
    "tolist": lambda x: x * (2 * x).tolist()[0],
    "numpy": lambda x: x * float(x.numpy()[0]),
    "np.exp": lambda x: x * torch.as_tensor(np.exp(x)),
    "item": lambda x: x * x[0].item(),
    "branch": lambda x: x if x.sum() > 0 else -x,
    "allclose": lambda x: x if torch.allclose(x, 2 * x) else -x,
    "in vmap": lambda x: torch.func.vmap(lambda a: a if a > 0 else -a)(x),
}
OF_CONSTANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "tolist": lambda x: x * (2 * CONSTANT).tolist()[0],
    "numpy": lambda x: x * float(torch.arange(3).numpy()[1]),
    "tensor": lambda x: x + torch.tensor([CONSTANT[1], 0.5, 1.0]),
    "copied as one": lambda x: torch.as_tensor(x) * 2,
    "stacked": lambda x: torch.stack([x[0], x[1] * 2]),
}


def shapes(x: Tensor) -> Tensor:
    return x + torch.zeros(4)


def own_error(x: Tensor) -> Tensor:
    raise ValueError("three is a crowd")


class Doubled(torch.autograd.Function):
    """A function without a rule for vmap."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


def without_rule(x: Tensor) -> Tensor:
    return torch.func.vmap(Doubled.apply)(x)


OTHERS = {"size of tensor": shapes, "three is a crowd": own_error, "setup_context": without_rule}


@pytest.mark.parametrize("name", READS_VALUES)
def test_values_of_inputs_are_not_frozen_in_a_graph(name: str) -> None:
    with pytest.raises(bm.CaptureError) as error:
        capture(lambda x: (READS_VALUES[name](x),), [X])
    for word in ("may not branch", "torch.where", "torch.stack", "test_capture_errors.py"):
        assert word in str(error.value)
    assert "tracing_mode" not in str(error.value)


@pytest.mark.parametrize("name", OF_CONSTANTS)
def test_values_of_constants_are(name: str) -> None:
    graph = capture(lambda x: (OF_CONSTANTS[name](x),), [X])
    torch.testing.assert_close(graph(X + 1)[0], OF_CONSTANTS[name](X + 1))


@pytest.mark.parametrize("words", OTHERS)
def test_other_errors_blame_no_branch(words: str) -> None:
    function = OTHERS[words]
    with pytest.raises(bm.CaptureError, match=words) as error:
        capture(lambda x: (function(x),), [X])
    assert "branch" not in str(error.value) and "torch.where" not in str(error.value)
    assert "vmap" in str(error.value) and "test_capture_errors.py" in str(error.value)


def test_the_line_is_the_users_own() -> None:
    with pytest.raises(bm.CaptureError, match=r"`return x \+ torch\.zeros\(4\)`"):
        capture(lambda x: (shapes(x),), [X])


def test_an_error_without_a_line_of_the_user_says_what_it_is() -> None:
    with pytest.raises(bm.CaptureError, match="does not require grad") as error:
        capture(value_and_gradient(lambda x: x.long().sum(), 1), [X])
    assert "at line" not in str(error.value)


def test_a_model_that_copies_a_latent_is_refused_by_its_line() -> None:
    def model(tasks: bm.Tasks, copied: bool = True) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        centre = torch.tensor([mu, 0.0]).sum() if copied else torch.stack([mu, 0 * mu]).sum()
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(centre, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    y = torch.tensor([[0.3, 1.2], [2.2, 0.9], [1.0, 1.4]], dtype=torch.float64)
    tasks = bm.Tasks.from_arrays(y)
    with pytest.raises(bm.CaptureError, match=r"torch\.tensor\(\[mu, 0\.0\]\).*torch\.stack"):
        bm.fit(model, tasks, theta=bm.Point(), phi=bm.Exact(), progress=False)
    # phi integrated out: each task's mean is N(mu, 1 + 1/2), and mu has precision 1 before.
    post = bm.fit(
        lambda t: model(t, copied=False), tasks, theta=bm.Point(), phi=bm.Exact(), progress=False
    )
    expected = y.mean(1).sum() / 1.5 / (1 + 3 / 1.5)
    assert abs(float(post.theta["mu"].mean()) - float(expected)) < 1e-5
