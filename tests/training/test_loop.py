"""The training loop: minima, batches, interrupts, checkpoints, validation, bad losses."""

from __future__ import annotations

import os
import signal

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means, sinusoid
from bayesmeta.training import loop
from bayesmeta.training.fit_options import FitOptions
from bayesmeta.training.stepper import Noise

TASKS = normal_means.tasks(num_tasks=6, num_data=3, seed=0)


def quadratic(shared, rows, *data):
    return ((shared - 2.0) ** 2).sum() + ((rows - 1.0) ** 2).mean()


def noisy(shared, rows, noise, *data):
    return quadratic(shared + 0.1 * noise, rows)


def draw(size, generator):
    return Noise([torch.randn(2, generator=generator, dtype=torch.float64)])


def run(
    adam, loss=quadratic, batch_size=None, checkpoint=None, noise=lambda *_: Noise(), about=None
):
    start = loop.Parameters(
        [torch.zeros(2, dtype=torch.float64)], [torch.zeros(6, 1, dtype=torch.float64)]
    )
    done = loop.train(
        loop.Objective(start, lambda size: loss, noise),
        TASKS,
        batch_size=batch_size,
        adam=adam,
        options=FitOptions(0, progress=False, checkpoint=checkpoint, about=about or {}),
    )
    return start, done.losses


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


def test_a_loss_that_is_no_number_is_caught_at_its_step():
    with pytest.raises(bm.TrainingError, match=r"nan at step 1 .*smaller lr"):
        run(bm.Adam(compile=False), lambda s, r, *d: (s.sum() - 1.0).sqrt() + r.sum())


def interrupt_at(monkeypatch, step):
    """Send this process Ctrl-C in the middle of a step, between its loss and its update."""
    check = loop._check

    def stop(losses, *rates):
        check(losses, *rates)
        if len(losses) == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop, "_check", stop)


def test_an_interrupt_keeps_what_was_reached_and_waits_for_the_step(monkeypatch):
    interrupt_at(monkeypatch, 30)
    with pytest.warns(UserWarning, match="interrupted at step 30 of 500"):
        done, losses = run(bm.Adam(steps=500, patience=0, compile=False))
    monkeypatch.undo()
    assert len(losses) == 30
    # The same rate for 30 whole steps: the interrupted one is among them.
    expected, _ = run(bm.Adam(steps=30, decay=0.0, patience=0, compile=False))
    assert torch.allclose(done.shared[0], expected.shared[0], atol=1e-3)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_run_goes_on_from_its_checkpoint_to_the_same_bits(batch_size, tmp_path, monkeypatch):
    adam = bm.Adam(lr=0.05, steps=200, patience=40, compile=False)
    whole, losses = run(adam, noisy, batch_size, noise=draw)
    interrupt_at(monkeypatch, 70)
    with pytest.warns(UserWarning, match="the same call goes on from there"):
        run(adam, noisy, batch_size, tmp_path, draw)
    monkeypatch.undo()
    again, rest = run(adam, noisy, batch_size, tmp_path, draw)
    assert rest == losses
    assert torch.equal(again.shared[0], whole.shared[0])
    assert torch.equal(again.rows[0], whole.rows[0])
    # A run that has ended is read, not trained again.
    assert run(adam, noisy, batch_size, tmp_path, draw)[1] == losses


def test_a_resumed_run_without_the_averages_of_adam_would_differ(tmp_path, monkeypatch):
    adam = bm.Adam(lr=0.05, steps=200, patience=0, compile=False)
    losses = run(adam, noisy, noise=draw)[1]
    interrupt_at(monkeypatch, 70)
    with pytest.warns(UserWarning, match="interrupted"):
        run(adam, noisy, None, tmp_path, draw)
    monkeypatch.undo()
    restore = loop.Optimiser.restore

    def forget(self, tensors):
        restore(self, {n: x for n, x in tensors.items() if not n.startswith("adam")})

    monkeypatch.setattr(loop.Optimiser, "restore", forget)
    assert run(adam, noisy, None, tmp_path, draw)[1] != losses


def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    steps = []
    with pytest.raises(NotADirectoryError, match=r"file' is a file; give a folder"):
        run(
            bm.Adam(steps=20, compile=False),
            noise=lambda *_: steps.append(1) or Noise(),
            checkpoint=tmp_path / "file",
        )
    assert not steps


def test_a_checkpoint_of_other_validation_tasks_is_refused(tmp_path):
    first, other = (
        support.with_query(query)
        for support, query in (sinusoid.tasks(10, 10, seed=s).split(5) for s in (1, 2))
    )
    maml(validation=first, checkpoint=tmp_path)
    with pytest.raises(bm.CheckpointError, match="its validation is"):
        maml(validation=other, checkpoint=tmp_path)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    adam = bm.Adam(steps=20, patience=0, compile=False)
    run(adam, checkpoint=tmp_path, about={"seed": 1})
    with pytest.raises(bm.CheckpointError, match="its seed is 1, this one's 2"):
        run(adam, checkpoint=tmp_path, about={"seed": 2})


def test_a_checkpoint_of_other_data_says_which_site_differs(tmp_path):
    def train_on(num_data):
        tasks = normal_means.tasks(num_tasks=6, num_data=num_data, ragged=False)
        theta = bm.Point(adam=bm.Adam(steps=2, compile=False))
        pair = {"theta": theta, "phi": bm.Exact(), "progress": False}
        bm.fit(normal_means.model, tasks, checkpoint=tmp_path, **pair)

    train_on(3)
    with pytest.raises(bm.CheckpointError, match=r"run: its y has shape \(6, 3\), here \(6, 4\); "):
        train_on(4)


def test_compiled_steps_give_the_same_losses_and_are_compiled_again_when_resumed(
    tmp_path, monkeypatch
):
    plain = run(bm.Adam(steps=40, patience=0, compile=False))[1]
    adam = bm.Adam(steps=40, patience=0, compile=True)
    compiled = run(adam)[1]
    assert torch.allclose(torch.tensor(plain), torch.tensor(compiled))
    interrupt_at(monkeypatch, 30)
    with pytest.warns(UserWarning, match="interrupted"):
        run(adam, checkpoint=tmp_path)
    monkeypatch.undo()
    assert run(adam, checkpoint=tmp_path)[1] == compiled


def test_compiled_steps_take_the_data_as_they_lie_in_memory():
    y = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    support, query = (bm.Tasks.from_arrays(part) for part in (y[:, :4], y[:, 4:]))
    assert not support.y.is_contiguous()
    found = []
    for compiled in (False, True):
        adam = bm.Adam(steps=25, patience=0, compile=compiled)
        pair = bm.MAML(2, 0.05, adam=adam)
        post = bm.fit(normal_means.model, support, query=query, progress=False, **pair)
        found.append(post.losses)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


WAVES = sinusoid.tasks(60, 10)
SUPPORT, QUERY = WAVES.split(5)


def maml(chunk_size=None, steps=20, validations=20, **options):
    adam = bm.Adam(
        lr=1e-3, steps=steps, compile=False, chunk_size=chunk_size, validations=validations
    )
    pair = bm.MAML(2, 0.01, batch_size=20, adam=adam)
    return bm.fit(sinusoid.model, SUPPORT, query=QUERY, progress=False, **pair, **options)


# At the start of training a step may be too long for a steep wave; both ways it is the same step.
@pytest.mark.filterwarnings("ignore:GradientSteps.* went down")
@pytest.mark.parametrize("chunk_size", [1, 6, 7])
def test_chunks_of_tasks_give_the_result_of_all_at_once(chunk_size):
    whole, chunked = maml(), maml(chunk_size)
    assert torch.allclose(whole.losses, chunked.losses, rtol=1e-4)
    assert torch.allclose(whole.theta["theta"], chunked.theta["theta"], atol=1e-4)


@pytest.mark.parametrize("family", [bm.MeanField(), bm.FullRank(), bm.LowRank(1)])
def test_chunks_cut_the_rows_and_the_noise_of_a_variational_fit(family):
    def fit(chunk_size):
        adam = bm.Adam(steps=40, compile=False, chunk_size=chunk_size)
        theta = bm.Gaussian(family, adam=adam, draws=5, noncentred=())
        return bm.fit(normal_means.model, TASKS, theta=theta, progress=False)

    assert torch.allclose(fit(None).losses, fit(4).losses, rtol=1e-5)
    assert torch.allclose(fit(None).phi["phi"], fit(4).phi["phi"], rtol=1e-5)


def test_validation_keeps_the_best_parameters():
    new, query = sinusoid.tasks(40, 10, seed=1).split(5)
    post = maml(steps=60, validations=6, validation=new.with_query(query))
    assert post.validation.shape == (6, 2)
    assert post.validation[:, 0].tolist() == [10, 20, 30, 40, 50, 60]
    assert any("validation tasks' loss was lowest" in note for note in post.notes)
    # The loss by the strategy's own posterior, at the parameters that were kept.
    score = post.adapt(new).log_score(query).sum(1).mean()
    assert score == pytest.approx(-float(post.validation[:, 1].min()), rel=1e-4)


def test_validation_that_grows_worse_goes_back_to_its_best():
    # Tasks that training takes away from: waves of the opposite sign at the same places.
    turned = bm.Tasks.from_arrays(-SUPPORT.y - 5.0, SUPPORT.x, names=SUPPORT.names)
    query = bm.Tasks.from_arrays(-QUERY.y - 5.0, QUERY.x, names=SUPPORT.names)
    post = maml(steps=200, validations=10, validation=turned.with_query(query))
    best = post.validation[post.validation[:, 1].argmin()]
    assert best[0] < 200
    score = post.adapt(turned).log_score(query).sum(1).mean()
    assert score == pytest.approx(-float(best[1]), rel=1e-4)


def test_validation_of_a_variational_fit_scores_its_mean():
    new = normal_means.tasks(num_tasks=5, num_data=3, seed=2)
    theta = bm.Gaussian(adam=bm.Adam(steps=40, compile=False), draws=5)
    phi = bm.Exact(draws=5)
    post = bm.fit(normal_means.model, TASKS, theta=theta, phi=phi, validation=new, progress=False)
    assert torch.isfinite(post.validation).all() and len(post.validation) == 20


def test_what_cannot_be_validated_or_stored_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"bm.NUTS\(\) does not train step by step"):
        bm.fit(normal_means.model, TASKS, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"bm.Joint\(\) has no phi for such tasks"):
        bm.fit(normal_means.model, TASKS, theta=bm.Point(), validation=TASKS)
    with pytest.raises(ValueError, match="only tasks have a query"):
        maml(validation=SUPPORT)


def test_a_diverging_fit_names_the_step():
    def bad(tasks):
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0 - phi.abs().clamp(max=2.0)), obs=tasks.y)

    with pytest.raises((bm.TrainingError, bm.StructureError), match=r"step|NaN"):
        bm.fit(bad, TASKS, theta=bm.Point(), progress=False)


@pytest.mark.parametrize("theta", [bm.Point(), bm.Gaussian(noncentred=())])
def test_a_diverging_fit_names_the_lr_of_phi(theta):
    phi = bm.GradientSteps(3, 1e200)
    with pytest.raises(bm.TrainingError, match=r"0\.02\), a smaller lr in phi= \(it is 1e\+200"):
        bm.fit(normal_means.model, TASKS, theta=theta, phi=phi, progress=False)
