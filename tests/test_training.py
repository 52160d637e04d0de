"""The training loop: schedule, early stopping, rows of a batch, and losses that are no numbers."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta import training
from bayesmeta.models import normal_means

TASKS = normal_means.tasks(num_tasks=6, num_data=3, seed=0)


def quadratic(shared, rows, *data):
    return ((shared - 2.0) ** 2).sum() + ((rows - 1.0) ** 2).mean()


def run(adam, loss=quadratic, batch_size=None):
    start = training.Parameters(
        [torch.zeros(2, dtype=torch.float64)], [torch.zeros(6, 1, dtype=torch.float64)]
    )
    return training.train(
        loss,
        start,
        TASKS,
        batch_size=batch_size,
        noise=lambda size, generator: [],
        adam=adam,
        seed=0,
        progress=False,
        title="test",
    )


@pytest.mark.parametrize("batch_size", [None, 2])
def test_finds_the_minimum_of_shared_parameters_and_of_every_row(batch_size):
    done, losses = run(bm.Adam(lr=0.05, steps=1500, compile=False), batch_size=batch_size)
    assert torch.allclose(done.shared[0], torch.full((2,), 2.0, dtype=torch.float64), atol=1e-3)
    assert torch.allclose(done.rows[0], torch.ones(6, 1, dtype=torch.float64), atol=1e-2)
    assert losses[-1] < losses[0]


def test_a_flat_loss_starts_the_decay_early_and_patience_0_never_does():
    adam = bm.Adam(steps=2000, patience=100, compile=False)
    assert len(run(adam, lambda s, r, *d: 0.0 * s.sum() + 1.0)[1]) < 1500
    adam = bm.Adam(steps=400, patience=0, compile=False)
    assert len(run(adam, lambda s, r, *d: 0.0 * s.sum() + 1.0)[1]) == 400


def test_the_rate_is_constant_and_then_falls_to_a_thousandth():
    schedule = training._Schedule(bm.Adam(lr=1.0, steps=100, decay=0.5, patience=0))
    rates = [schedule.rate([0.0] * n) for n in range(1, 102)]
    assert rates[0] == rates[50] == pytest.approx(1.0)
    assert rates[75] == pytest.approx(0.5, abs=0.02)
    assert rates[100] == pytest.approx(1e-3)


def test_a_loss_that_is_no_number_is_caught_at_its_step():
    with pytest.raises(bm.TrainingError, match=r"nan at step 1 .*smaller lr"):
        run(bm.Adam(compile=False), lambda s, r, *d: (s.sum() - 1.0).sqrt() + r.sum())


def test_an_interrupt_keeps_what_was_reached(monkeypatch):
    calls = []

    def stop(*args):
        calls.append(args)
        if len(calls) == 30:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_check", stop)
    with pytest.warns(UserWarning, match="interrupted at step 30 of 500"):
        done, losses = run(bm.Adam(steps=500, compile=False))
    assert len(losses) == 30 and done.shared[0].abs().max() > 0


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="lr=-1"):
        bm.Adam(lr=-1)


def test_compiled_steps_give_the_same_losses():
    plain = run(bm.Adam(steps=40, patience=0, compile=False))[1]
    compiled = run(bm.Adam(steps=40, patience=0, compile=True))[1]
    assert torch.allclose(plain, compiled)


def test_a_diverging_fit_names_the_step():
    def bad(tasks):
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0 - phi.abs().clamp(max=2.0)), obs=tasks.y)

    with pytest.raises((bm.TrainingError, bm.StructureError), match=r"step|NaN"):
        bm.fit(bad, TASKS, theta=bm.Point(), progress=False)
