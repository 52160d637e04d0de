"""Draws of phi judged by what of them is used: each planted fault is told, sound draws are not."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.phi.checks import PhiDraws, check_phi

TASKS = bm.Tasks.from_list([[1.0, 2.0], [0.5], [3.0, 2.0, 2.5]]).to(dtype=torch.float64)
DRAWS = 1000


def model(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def moments() -> tuple[Tensor, Tensor]:
    precision = 1 + TASKS.sizes.double()
    return torch.where(TASKS.mask, TASKS.y, 0.0).sum(1) / precision, precision**-0.5


def draws(shift: float = 0.0, times: float = 1.0, seed: int = 0) -> PhiDraws:
    """Of q = N(mean + shift sd, (times sd)^2) in each task, with their weights."""
    (mean, sd), generator = moments(), torch.Generator().manual_seed(seed)
    noise = torch.randn(DRAWS, 3, generator=generator, dtype=torch.float64)
    phi = mean + sd * (shift + times * noise)
    log_p = -0.5 * ((phi - mean) / sd).square() - sd.log()
    log_q = -0.5 * noise.square() - (times * sd).log()
    return PhiDraws(
        bm.Joint(),
        Density(read(model, TASKS)),
        TASKS,
        torch.zeros(DRAWS, 0, dtype=torch.float64),
        phi[..., None],
        is_point=True,
        log_weights=log_p - log_q,
        is_picked=False,
    )


def test_draws_of_the_posterior_are_sound() -> None:
    found = check_phi(draws())
    assert not found.messages
    assert set(found.pareto_k) == set(TASKS.names)


@pytest.mark.parametrize(("shift", "times"), [(0.0, 3.0), (0.0, 1.5), (0.6, 1.2)])
def test_weights_that_look_sound_tell_of_draws_that_are_off(shift: float, times: float) -> None:
    found = check_phi(draws(shift, times))
    assert max(found.pareto_k.values()) < 0.7
    (message,) = found.messages
    assert "the draws of phi are off in 3 of 3 tasks" in message
    assert "theta=bm.NUTS()" in message


@pytest.mark.parametrize(("shift", "times"), [(0.05, 1.0), (0.0, 1.08)])
def test_negative_control_what_is_off_by_little_is_sound(shift: float, times: float) -> None:
    assert not check_phi(draws(shift, times)).messages


def test_picked_draws_are_judged_by_what_they_are_worth() -> None:
    """Twice too wide is no fault where draws are picked by weights; twenty times is."""
    assert not check_phi(replace(draws(0.0, 2.0), is_picked=True)).messages
    wide = replace(draws(0.0, 20.0), is_picked=True)
    (message,) = check_phi(wide).messages
    assert "are worth fewer than 500 independent ones" in message


def test_too_few_draws_are_an_answer_of_their_own() -> None:
    few = draws()
    few = replace(few, phi=few.phi[:10], log_weights=few.log_weights[:10])
    found = check_phi(few)
    assert all(k != k for k in found.pareto_k.values())
    assert "take at least 25" in found.messages[0]


def test_weights_of_zero_are_not_sound() -> None:
    none = replace(draws(), log_weights=torch.full((DRAWS, 3), -torch.inf))
    found = check_phi(none)
    assert set(found.pareto_k.values()) == {float("inf")}
    assert "Pareto k is above 0.7 in 3 of 3 tasks" in found.messages[0]


def apart(distance: float) -> PhiDraws:
    """Chains of two kinds, so many sds apart in the second task."""
    found = draws()
    phi = found.phi.clone()
    phi[1::2, 1] += distance * moments()[1][1]
    return replace(found, strategy=bm.HMC(), phi=phi, log_weights=None)


def test_chains_that_have_not_met_are_told_by_task() -> None:
    found = check_phi(apart(0.5))
    (message,) = found.messages
    assert "begun at the mode and at the prior have not come to the same in 1 of 3 tasks" in message
    assert f"{TASKS.names[1]} (1.0" in message
    assert set(found.rhat) == set(TASKS.names)


def test_negative_control_chains_that_have_met_are_sound() -> None:
    assert not any(
        check_phi(replace(apart(0.0), phi=draws(seed=s).phi)).messages for s in range(20)
    )


def hills(tasks: bm.Tasks) -> None:
    """Of phi only its size is seen."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, 2.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi.abs(), 0.3), obs=tasks.y)


@pytest.fixture(scope="module")
def one_sided() -> bm.Posterior:
    generator = torch.Generator().manual_seed(0)
    phi = 2 * torch.randn(100, 1, generator=generator)
    y = phi.abs() + 0.3 * torch.randn(100, 4, generator=generator)
    adam = bm.Adam(lr=3e-3, steps=200, patience=0, compile=False)
    theta = bm.Point(batch_size=50, adam=adam)
    tasks = bm.Tasks.from_arrays(y)
    post = bm.fit(hills, tasks, theta=theta, phi=bm.Amortised(), progress=False)
    return post.adapt(bm.Tasks.from_list([[2.0, 2.1, 1.9, 2.0], [3.0] * 8]))


def test_a_mode_that_an_amortised_q_misses_is_told(one_sided: bm.Posterior) -> None:
    share = (one_sided.phi["phi"] > 0).double().mean((0, 1))
    assert ((share < 0.05) | (share > 0.95)).all()
    told = str(one_sided.diagnose())
    assert "Chains of phi from dispersed starts disagree with q in 2 of the 2 tasks" in told


def test_hmc_has_both_modes_by_their_shares(one_sided: bm.Posterior) -> None:
    post = one_sided.adapt(one_sided.tasks, phi=bm.HMC())
    assert ((post.phi["phi"] > 0).double().mean((0, 1)) - 0.5).abs().max() < 0.08


def test_modes_of_unequal_shares_are_told() -> None:
    """The prior of the mode on the right is seven times that on the left: chains do not cross."""

    def leaning(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(1.0, 2.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi.abs(), 0.1), obs=tasks.y)

    tasks = bm.Tasks.from_list([[2.0, 2.1, 1.9, 2.0]])
    post = bm.fit(leaning, tasks, theta=bm.Fixed({}), phi=bm.HMC(draws=2000), progress=False)
    assert "have not come to the same in 1 of 1 tasks" in str(post.diagnose())


def test_new_tasks_of_a_joint_fit_are_judged_as_chains() -> None:
    """Their phi is drawn by `HMC`; that of the fit's own tasks is not."""

    def leaning(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(1.0, 0.1))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 2.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi.abs(), 0.1), obs=tasks.y)

    theta = bm.NUTS(draws=500, tune=200, chains=2, cores=1)
    tasks = bm.Tasks.from_list([[0.1, 0.2, 0.1], [1.5, 1.4]])
    post = bm.fit(leaning, tasks, theta=theta, phi=bm.Joint(), progress=False)
    assert not post.diagnose().rhat_phi
    new = post.adapt(bm.Tasks.from_list([[2.0, 2.1, 1.9, 2.0]], names=["new"]))
    assert list(new.diagnose().rhat_phi) == ["new"]


def test_tasks_unlike_those_trained_on_are_told() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200, 12, generator=generator)
    y = x * torch.randn(200, 1, generator=generator)

    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(slope * tasks.x["x"], 0.1), obs=tasks.y)

    phi = bm.Amortised(bm.DeepSet(4, 8, 1), draws=200, width=8)
    theta = bm.Point(adam=bm.Adam(steps=3, compile=False))
    tasks = bm.Tasks.from_arrays(y, {"x": x})
    post = bm.fit(model, tasks, theta=theta, phi=phi, progress=False)
    new = bm.Tasks.from_list([y[0], y[1], y[2, :0]], {"x": [x[0], x[1] + 3, x[2, :0]]}, "abc")
    (told,) = (m for m in post.adapt(new).diagnose().messages if "was trained on" in m)
    assert told.startswith("Data of 1 of 3 tasks are outside") and "b (x['x'] 3" in told
    assert "trained on" in told and "adapt with another strategy" in told
    assert not any("was trained on" in m for m in post.diagnose().messages)


def slopes_model(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(1), 1e3).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(slope[..., 0] * tasks.x["x"], 1.0), obs=tasks.y)


@pytest.mark.parametrize(
    ("phi", "unit", "told"),
    [
        (
            bm.FineTune([bm.Full(steps=99)], progress=False),
            1e4,
            "fell as fast at its end",
        ),
        (bm.FineTune([bm.Full(steps=3, lr=500.0)], progress=False), 1.0, "below where they began"),
        (bm.GradientSteps(3, 10.0), 1.0, "below where they began in 3 of 3 tasks: 0 (-"),
        # Negative controls.
        (bm.FineTune([bm.Full(steps=200, lr=3e-2)], progress=False), 1.0, ""),
        (bm.GradientSteps(20, 0.02), 1.0, ""),
    ],
)
def test_steps_that_lead_nowhere_are_told(phi: bm.Phi, unit: float, told: str) -> None:
    x = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    tasks = bm.Tasks.from_arrays(unit * x, {"x": x})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        post = bm.fit(slopes_model, tasks, theta=bm.Fixed({}), phi=phi, progress=False)
        found = post.diagnose()
    assert found.ok == (not told) and told in str(found)
