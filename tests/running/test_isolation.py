"""No answer depends on what the process is set to, nor on other threads; it is left as found."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Distribution

import bayesmeta as bm
from bayesmeta.running import isolation

FEW = bm.Adam(steps=15, compile=False)
POINT = bm.Point(adam=FEW)
TUNED = bm.FineTune([bm.Full(steps=10, lr=0.1)], progress=False)
KNOWN = bm.Fixed({"mu": torch.tensor(1.0), "tau": torch.tensor(2.0)})
AMORTISED = POINT, bm.Amortised(bm.DeepSet(8, width=8), draws=20)
# Every strategy once, with another that is quick.
PAIRS = [
    (bm.NUTS(chains=1, tune=30, draws=20, noncentred=("phi",), compile=False), bm.Joint()),
    (bm.Gaussian(adam=FEW, draws=50), bm.Joint()),
    (POINT, bm.Exact(draws=20)),
    AMORTISED,
]
MORE = [
    (bm.Gaussian(bm.LowRank(1), batch_size=2, adam=FEW, draws=50), bm.Mode()),
    (bm.Point(batch_size=2, adam=FEW), bm.GradientSteps(steps=2, lr=0.1)),
    (POINT, bm.Laplace(draws=20)),
    (POINT, bm.ReptileSteps(steps=2, lr=0.1)),
    (POINT, bm.Amortised(bm.DeepSet(8, width=8), bm.SplineFlow(width=8), draws=20)),
    (POINT, bm.VariationalSteps(steps=2, draws=20)),
    (POINT, bm.SteinParticles(steps=2, particles=4)),
    (KNOWN, bm.HMC(draws=20)),
    (KNOWN, bm.PostHocLaplace(TUNED, scale=1.0, draws=20)),
]


def model(tasks: bm.Tasks) -> None:
    """Means of tasks with a spread to learn, which may be noncentred."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfNormal(5.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 3.0), obs=tasks.y)


def data(dtype: torch.dtype = torch.float64) -> tuple[bm.Tasks, bm.Tasks]:
    """Tasks to learn from, and new ones."""
    y = [[1.0, 4.5, 2.0], [-2.5, 0.5], [6.0, 3.5], [1.5]]
    return tuple(bm.Tasks.from_list(rows).to(dtype=dtype) for rows in (y, [[9.0, 8.5], [0.5]]))


def answers(theta, phi, tasks, new, fit=bm.fit) -> list[torch.Tensor]:
    """What a fit says of its tasks, and of new ones."""
    post = fit(model, tasks, theta=theta, phi=phi, seed=3, progress=False)
    adapted = post.adapt(new)
    values = [*post.theta.values(), *post.phi.values(), *adapted.phi.values(), post.losses]
    return [*values, post.predict().draws, adapted.log_score()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(one, other, strict=True))


def settings() -> tuple[object, ...]:
    """What a caller may have set."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        Distribution._validate_args,
        pyro.distributions.util.is_validation_enabled(),
    )


def name(part: object) -> str:
    inner = [
        type(getattr(part, a)).__name__ for a in ("family", "encoder", "guide") if hasattr(part, a)
    ]
    return "-".join([type(part).__name__, *inner])


@contextlib.contextmanager
def low_and_gradless():
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        yield


@pytest.mark.parametrize(
    ("theta", "phi"),
    [*PAIRS, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in MORE)],
    ids=name,
)
def test_modes_of_the_caller_change_no_answer(theta, phi):
    expected = answers(theta, phi, *data())
    for mode in (low_and_gradless, torch.inference_mode):
        with mode():
            before = settings()
            given = data()
            found = answers(theta, phi, *given)
            assert settings() == before
        assert same(found, expected)
    assert given[0].y.is_inference() and not found[0].is_inference()


@pytest.mark.slow
def test_modes_of_the_caller_would_change_answers():
    # fit without its mending.
    bare, (theta, phi) = bm.fit.__wrapped__, PAIRS[1]
    expected = answers(theta, phi, *data())
    with torch.no_grad():
        assert not same(answers(theta, phi, *data(), fit=bare), expected)
        with pytest.raises(RuntimeError, match="does not require grad"):
            answers(POINT, bm.Exact(draws=20), *data(), fit=bare)
    theta, phi = AMORTISED
    expected = answers(theta, phi, *data(torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        assert same(answers(theta, phi, *data(torch.float32)), expected)
        assert not same(answers(theta, phi, *data(torch.float32), fit=bare), expected)


def evaluated(tasks: bm.Tasks, new: bm.Tasks) -> list[object]:
    """What is asked of models and posteriors beside."""
    post = bm.fit(model, tasks, theta=PAIRS[1][0], phi=bm.Joint(), progress=False)
    amortised = bm.fit(model, tasks, theta=POINT, phi=AMORTISED[1], progress=False)
    gap = bm.amortisation_gap(amortised, new, refine=bm.Refine(steps=3), exact=bm.HMC(draws=20))
    refined = amortised.adapt(new, refine=bm.Refine(steps=3, rerun=bm.HMC(draws=20)))
    prior = bm.prior(model, tasks, draws=300)
    fine = bm.fit(model, tasks, theta=KNOWN, phi=TUNED, progress=False)
    return [
        str(bm.structure(model, tasks)),
        bm.graph(model, tasks).roles(),
        str(post.diagnose()),
        post.summary().to_string(),
        bm.leave_one_task_out(post, progress=False).table.to_string(),
        bm.compare({"a": post}, tasks).overall.to_string(),
        gap.to_string(),
        refined.phi["phi"].tolist(),
        bm.information.conditional_entropy(prior).value.tolist(),
        TUNED.summary(fine),
    ]


# A small network leaves weights that are not to be trusted, of which it is told.
@pytest.mark.filterwarnings("ignore:.*were run again by phi")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Pareto")
def test_modes_change_nothing_of_what_is_asked_beside():
    expected = evaluated(*data())
    with torch.inference_mode():
        given = data()
        assert evaluated(*given) == expected
    # What was made in that mode is of use outside, too.
    assert evaluated(*given) == expected


def test_a_network_made_in_inference_mode_is_of_use_outside():
    with torch.inference_mode():
        net = bm.nets.Net(torch.nn.Linear(1, 1))
    assert not net.weights().is_inference()
    assert not any(x.is_inference() for x in net._module.parameters())


IMPORTS = """
import torch
from torch.distributions import Distribution
Distribution.set_default_validate_args({before})
import {other}
found = Distribution._validate_args
import bayesmeta
assert Distribution._validate_args is found, (found, Distribution._validate_args)
print(found)
"""


@pytest.mark.parametrize(
    ("before", "other", "found"),
    [(False, "torch", False), (False, "pyro", True), (True, "zuko", False)],
)
def test_the_import_leaves_validation_as_found(before, other, found):
    code = IMPORTS.format(before=before, other=other)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == str(found), run.stderr


@pytest.fixture
def restored():
    before = Distribution._validate_args
    yield
    pyro.enable_validation(True)
    Distribution.set_default_validate_args(before)


@pytest.mark.parametrize("of_torch", [True, False])
@pytest.mark.parametrize("of_pyro", [True, False])
def test_calls_leave_validation_as_found(restored, of_torch, of_pyro):
    pyro.enable_validation(of_pyro)
    Distribution.set_default_validate_args(of_torch)
    before, (tasks, new) = settings(), data()
    bm.structure(model, tasks)
    assert settings() == before
    answers(POINT, bm.Exact(draws=20), tasks, new)
    bm.graph(model, tasks).roles()
    assert settings() == before
    with pytest.raises(bm.StructureError):
        bm.structure(lambda tasks: dist.Normal(0.0, 1.0).log_prob(tasks.x["no"]), tasks)
    assert settings() == before


def at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    """What jobs come to that start together in threads of their own."""
    found: list[Any] = [None] * len(jobs)
    start = threading.Barrier(len(jobs))

    def go(i: int) -> None:
        start.wait()
        try:
            found[i] = jobs[i]()
        except Exception as error:
            found[i] = error

    threads = [threading.Thread(target=go, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive(), "threads wait for each other"
    return found


def stress(rounds: int) -> list[bool]:
    """Whether fits and adapts in four threads, of float32 and float64, equal those alone."""
    given = [data(torch.float64), data(torch.float32)]
    posts = [
        bm.fit(model, tasks, theta=POINT, phi=bm.Exact(draws=50), progress=False)
        for tasks, _ in given
    ]
    jobs = [
        lambda: posts[0].adapt(given[0][1]).phi["phi"],
        lambda: posts[1].adapt(given[1][1]).predict().draws,
        lambda: bm.fit(model, given[0][0], theta=POINT, phi=bm.Mode(), progress=False).losses,
        lambda: bm.fit(model, given[1][0], theta=POINT, phi=bm.Mode(), progress=False).phi["phi"],
    ]
    expected, before = [job() for job in jobs], (settings(), torch.get_rng_state())
    right = []
    for _ in range(rounds):
        found = at_once(jobs)
        right += [
            isinstance(x, torch.Tensor) and x.dtype == y.dtype and same([x], [y])
            for x, y in zip(found, expected, strict=True)
        ]
    right.append(settings() == before[0])
    right.append(torch.equal(torch.get_rng_state(), before[1]))
    return right


def test_threads_get_what_each_gets_alone():
    assert all(stress(rounds=2))


class _NoTurn:
    """A lock that lets all threads in."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.slow
def test_threads_without_a_turn_would_not():
    """In a process of its own, as it leaves Pyro's state as no other test may find it."""
    code = (
        "from bayesmeta.running import isolation; "
        "from tests.running import test_isolation as here; "
        "isolation._turn = here._NoTurn(); raise SystemExit(all(here.stress(rounds=4)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=600)
    assert ended.returncode == 0, ended.stderr.decode()


def test_threads_that_ask_one_posterior_for_its_draws_do_not_block():
    tasks, _ = data()
    fitted = bm.fit(model, tasks, theta=POINT, phi=bm.Exact(draws=20), progress=False).draws
    for _ in range(5):
        post = bm.Posterior(replace(fitted))
        jobs = [partial(getattr, post, "phi"), post.predict]
        one, first, other, second = at_once(jobs * 2)
        assert one["phi"] is other["phi"]
        assert same([first.draws], [second.draws])


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent():
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with isolation.undisturbed():
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        # Without a new lock the alarm ends it.
        signal.alarm(20)
        with isolation.undisturbed():
            os._exit(0)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
