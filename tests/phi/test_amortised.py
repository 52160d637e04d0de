"""Amortised: the exact posterior of a conjugate model, sets of any size and order, and refusals."""

from __future__ import annotations

from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import pytest
import torch
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.prior import theta_start
from bayesmeta.model.reading import read
from bayesmeta.models import linear_regression, logistic_regression, normal_means

MU, TAU, SIGMA, MOST = 1.0, 2.0, 1.0, 20


def known(tasks: bm.Tasks) -> None:
    """A normal mean a task, with the prior known: there is no theta."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(MU, TAU))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, SIGMA), obs=tasks.y)


def draw_tasks(num_tasks: int, seed: int) -> bm.Tasks:
    """Tasks of 1 to 20 points."""
    generator = torch.Generator().manual_seed(seed)
    phi = MU + TAU * torch.randn(num_tasks, 1, generator=generator)
    y = phi + SIGMA * torch.randn(num_tasks, MOST, generator=generator)
    sizes = torch.randint(1, MOST + 1, (num_tasks, 1), generator=generator)
    return bm.Tasks.from_arrays(y, mask=torch.arange(MOST) < sizes)


def exact(tasks: bm.Tasks) -> tuple[Tensor, Tensor]:
    """Mean and sd of phi given the data, (tasks,)."""
    precision = TAU**-2 + tasks.sizes * SIGMA**-2
    total = torch.where(tasks.mask, tasks.y, 0.0).sum(1)
    return (MU * TAU**-2 + total * SIGMA**-2) / precision, precision**-0.5


@dataclass(frozen=True)
class HalfBlind(bm.DeepSet):
    """The planted bug: an encoder that reads the first half of the cells alone."""

    def __call__(self, weights, rows, mask):
        half = torch.arange(mask.shape[1]) < mask.shape[1] // 2
        return super().__call__(weights, rows, mask & half)


def trained(encoder: bm.DeepSet) -> bm.Posterior:
    """Of 1,000 unseen tasks, by a network trained on 5,000 others."""
    adam = bm.Adam(lr=3e-3, steps=3000, patience=0, compile=False)
    # As the network has them: importance weights would put most of what is wrong right.
    phi = bm.Amortised(encoder, draws=4000, candidates=1)
    theta = bm.Point(batch_size=100, adam=adam)
    post = bm.fit(known, draw_tasks(5000, 0), theta=theta, phi=phi, progress=False)
    return post.adapt(draw_tasks(1000, 1))


@pytest.fixture(scope="module")
def good() -> bm.Posterior:
    return trained(bm.DeepSet())


@pytest.fixture(scope="module")
def half_blind() -> bm.Posterior:
    return trained(HalfBlind())


def errors(post: bm.Posterior) -> tuple[Tensor, Tensor]:
    """Of the means, in sds, and of the sds, relative to the exact; (tasks,)."""
    draws = post.phi["phi"][0]
    mean, sd = exact(post.tasks)
    return (draws.mean(0) - mean) / sd, draws.std(0) / sd - 1


def two_sample(post: bm.Posterior) -> float:
    """How often a classifier tells a draw from an exact one, given the data (C2ST).

    Lopez-Paz & Oquab (2017); forty draws of each kind a task, cross-validated by tasks, those of 15
    to 20 points, of which a blind half is most.
    """
    large = post.tasks.sizes >= 15
    (mean, sd), sizes = exact(post.tasks[large]), post.tasks.sizes[large]
    drawn = post.phi["phi"][0, :40, large]
    truth = mean + sd * torch.randn(drawn.shape, generator=torch.Generator().manual_seed(2))
    about = [sizes.float().expand(40, -1), mean.expand(40, -1)]
    rows = [torch.stack([x, (x - mean) / sd, *about], -1).flatten(0, 1) for x in (drawn, truth)]
    labels = torch.arange(2).repeat_interleave(drawn.numel())
    groups = torch.arange(len(mean)).repeat(80)
    network = MLPClassifier((32, 32), early_stopping=True, random_state=0)
    return float(
        cross_val_score(
            make_pipeline(StandardScaler(), network),
            torch.cat(rows).numpy(),
            labels.numpy(),
            groups=groups.numpy(),
            cv=GroupKFold(5),
        ).mean()
    )


@pytest.mark.slow
def test_conjugate_posteriors_of_unseen_tasks(good: bm.Posterior) -> None:
    mean, sd = errors(good)
    # Root mean squares, of which 1 / sqrt(4000) = .016 and .011 are Monte Carlo error.
    assert mean.square().mean().sqrt() < 0.05
    assert sd.square().mean().sqrt() < 0.05
    assert mean.abs().max() < 0.15 and sd.abs().max() < 0.15


@pytest.mark.slow
def test_no_classifier_tells_its_draws_from_exact_ones(good: bm.Posterior) -> None:
    assert 0.45 < two_sample(good) < 0.55


@pytest.mark.slow
def test_an_encoder_that_ignores_half_of_the_data_is_found(half_blind: bm.Posterior) -> None:
    mean, _ = errors(half_blind)
    assert mean.square().mean().sqrt() > 0.2
    assert two_sample(half_blind) > 0.55


STRATEGIES = [
    bm.Amortised(),
    bm.Amortised(bm.Attentive(), bm.DiagonalNormal()),
]


def posterior_of(
    strategy: bm.Amortised,
    density: Density,
    tasks: bm.Tasks,
    rounding: float = 0.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Two draws of phi and their log density, at weights that are not those of the start.

    Each weight is off by a random part of itself, at most `rounding`.
    """
    reference = LINEAR.to(dtype=tasks.dtype)
    state = strategy.start(density, reference)
    generator = torch.Generator().manual_seed(3)
    weights = [x + 0.1 * torch.randn(x.shape, generator=generator) for x in state[:-5]]
    parts = torch.Generator().manual_seed(seed)
    off = [rounding * (2 * torch.rand(x.shape, generator=parts) - 1) for x in weights]
    weights = [x * (1 + part) for x, part in zip(weights, off, strict=True)]
    q = strategy.posterior(
        density, theta_start(density, reference), [tasks], [*weights, *state[-5:]]
    )
    noise = torch.randn(2, 1, density.d_phi, generator=generator).expand(-1, len(tasks), -1)
    phi = q.draw(noise)
    return phi, q.log_prob(phi)


LINEAR = linear_regression.tasks(num_tasks=6, num_data=5, num_features=3).to(dtype=torch.float32)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s.encoder).__name__)
def test_padding_and_order_change_nothing(strategy: bm.Amortised) -> None:
    model = linear_regression.model
    density = Density(read(model, LINEAR))
    phi, log_q = posterior_of(strategy, density, LINEAR)
    order = torch.tensor([3, 1, 4, 0, 2]).expand(len(LINEAR), -1)
    turned = LINEAR.take_rows(order, LINEAR.mask)
    for other in (LINEAR.widen(11), turned):
        found, log_other = posterior_of(strategy, density, other)
        assert torch.allclose(found, phi, atol=1e-5, rtol=1e-5)
        assert torch.allclose(log_other, log_q, atol=1e-4)
    # Negative control: one datapoint more does change it.
    fewer, _ = posterior_of(strategy, density, LINEAR.take_rows(order[:, :4], LINEAR.mask[:, :4]))
    assert (fewer - phi).abs().max() > 1e-3


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s.encoder).__name__)
def test_a_task_without_data_has_its_prior(strategy: bm.Amortised) -> None:
    tasks = normal_means.tasks(num_tasks=6)
    adam = bm.Adam(steps=20, compile=False)
    post = bm.fit(
        normal_means.model, tasks, theta=bm.Point(adam=adam), phi=strategy, progress=False
    )
    empty = bm.Tasks.from_list([[], [1.0]])
    draws = post.adapt(empty).phi["phi"][0, :, 0]
    error = (draws.mean() - post.theta["mu"][0, 0]) / normal_means.TAU
    assert abs(error) < 4 / 1000**0.5
    assert abs(draws.std() / normal_means.TAU - 1) < 0.1


@pytest.mark.parametrize("encoder", [bm.DeepSet(), bm.SetTransformer()], ids=lambda e: str(e)[:7])
def test_mixed_precision_rounds_the_network_alone(encoder: bm.DeepSet) -> None:
    """Its numbers are those of bfloat16; in float64, which it leaves alone, all.

    bfloat16 rounds a number by at most a part in 2^8. Processors round at other places: what holds
    on all of them is the size of the error, as of weights that are off by a part in 2^7.
    """
    model = linear_regression.model
    for tasks in (LINEAR, LINEAR.to(dtype=torch.float64)):
        density = Density(read(model, tasks))
        full, mixed = (
            posterior_of(bm.Amortised(encoder, mixed_precision=on), density, tasks)[0]
            for on in (False, True)
        )
        assert mixed.dtype == full.dtype == tasks.dtype
        if tasks.dtype == torch.float64:
            assert torch.equal(mixed, full)
    density = Density(read(model, LINEAR))
    full, mixed, *rounded = (
        posterior_of(strategy, density, LINEAR, part, seed)[0]
        for strategy, part, seed in (
            (bm.Amortised(encoder), 0.0, 0),
            (bm.Amortised(encoder, mixed_precision=True), 0.0, 0),
            *((bm.Amortised(encoder), part, k) for part in (2**-7, 2**-3) for k in range(20)),
        )
    )
    error, *errors = (float(((x - full) / full.std()).abs().max()) for x in (mixed, *rounded))
    assert 1e-5 < error < max(errors[:20])
    assert min(errors[20:]) > max(errors[:20])  # three bits would be found out
    adam = bm.Adam(steps=2, compile=False)
    phi = bm.Amortised(encoder, mixed_precision=True)
    post = bm.fit(model, LINEAR, theta=bm.Gaussian(adam=adam), phi=phi, progress=False)
    assert post.losses.isfinite().all()
    assert post.adapt(LINEAR).phi["w"].isfinite().all()


@pytest.mark.parametrize("bound", [bm.ELBO(), bm.ImportanceWeighted(), bm.Predictive()])
def test_every_bound_trains_the_network(bound: bm.ELBO) -> None:
    support, query = logistic_regression.tasks(num_tasks=20, num_data=10).split(6)
    adam = bm.Adam(lr=3e-3, steps=150, patience=0, compile=False)
    post = bm.fit(
        logistic_regression.model,
        support,
        query=query,
        theta=bm.Point(adam=adam),
        phi=bm.Amortised(bound=bound, draws=10),
        progress=False,
    )
    assert post.losses[-30:].mean() < post.losses[:10].mean()


@pytest.mark.slow
@pytest.mark.parametrize("theta", [bm.Point, bm.Gaussian])
def test_each_task_is_judged_by_its_weights(theta: type[bm.Point]) -> None:
    """k is low once q is the posterior, as for this model it can be, and not before."""
    found = []
    for steps in (1, 400):
        adam = bm.Adam(lr=3e-3, steps=steps, patience=0, compile=False)
        post = bm.fit(
            normal_means.model,
            normal_means.tasks(num_tasks=50),
            theta=theta(adam=adam),
            phi=bm.Amortised(candidates=1),
            progress=False,
        )
        new = post.adapt(normal_means.tasks(num_tasks=10, num_data=20, seed=1))
        assert new.log_weights.shape == new.phi["phi"].shape
        found.append(new.diagnose().pareto_k)
    assert set(found[1]) == set(new.tasks.names)
    assert max(found[1].values()) < 0.7 < max(found[0].values())


def test_units_are_not_trained() -> None:
    tasks = normal_means.tasks(num_tasks=6)
    strategy = bm.Amortised()
    adam = bm.Adam(steps=5, compile=False)
    post = bm.fit(
        normal_means.model, tasks, theta=bm.Point(adam=adam), phi=strategy, progress=False
    )
    before = strategy.start(post.density, tasks)
    assert all(torch.equal(a, b) for a, b in zip(before[-5:], post.fit.state[-5:], strict=True))
    assert not torch.equal(before[0], post.fit.state[0])


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"encoder": "deep set"}, "encoder='deep set'"),
        ({"guide": bm.FullRank()}, "guide=FullRank"),
        ({"bound": bm.ELBO}, r"is no bound: give bound=bm\.ELBO\(\)"),
    ],
)
def test_parts_that_are_no_parts_are_refused(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        bm.Amortised(**wrong)


def simulated(num_tasks: int, seed: int) -> bm.Tasks:
    """Tasks of `known`, with the phi that they were drawn from."""
    generator = torch.Generator().manual_seed(seed)
    phi = MU + TAU * torch.randn(num_tasks, 1, generator=generator)
    y = phi + SIGMA * torch.randn(num_tasks, MOST, generator=generator)
    sizes = torch.randint(1, MOST + 1, (num_tasks, 1), generator=generator)
    return bm.Tasks.from_arrays(y, {"phi": phi}, mask=torch.arange(MOST) < sizes)


@pytest.mark.slow
def test_a_network_learns_from_simulated_truth() -> None:
    """Real tasks have none, and are inferred as exactly as by the ELBO."""
    adam = bm.Adam(lr=3e-3, steps=3000, patience=0, compile=False)
    phi = bm.Amortised(bound=bm.Simulated(), draws=4000)
    theta = bm.Point(batch_size=100, adam=adam)
    post = bm.fit(known, simulated(20_000, 0), theta=theta, phi=phi, progress=False)
    means, sds = errors(post.adapt(draw_tasks(1000, 1)))
    assert means.square().mean().sqrt() < 0.1 and sds.square().mean().sqrt() < 0.08


def test_a_truth_outside_of_the_support_is_refused_by_task() -> None:
    def scale(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Uniform(0.0, 2.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(0.0, phi), obs=tasks.y)

    def fit(truth: list[float]) -> None:
        x = {"phi": torch.tensor(truth)[:, None]}
        tasks = bm.Tasks.from_arrays(torch.randn(3, 4), x, names=["a", "b", "c"])
        theta = bm.Point(adam=bm.Adam(steps=2, compile=False))
        bm.fit(scale, tasks, theta=theta, phi=bm.Amortised(bound=bm.Simulated()), progress=False)

    fit([0.5, 1.0, 1.9])
    with pytest.raises(bm.StructureError, match=r"x\['phi'\] = \[2\.5\] as the truth of task 'c'"):
        fit([0.5, 1.0, 2.5])


def test_another_seed_starts_from_other_weights() -> None:
    def weights(seed: int) -> list[Tensor]:
        theta = bm.Point(adam=bm.Adam(steps=1, compile=False))
        tasks = draw_tasks(20, 0)
        post = bm.fit(known, tasks, theta=theta, phi=bm.Amortised(), seed=seed, progress=False)
        return list(post.fit.state)

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert (first[0] - other[0]).abs().max() > 0.1


def test_without_a_head_nothing_could_read_theta() -> None:
    with pytest.raises(ValueError, match="without a head nothing reads theta"):
        bm.Amortised(layers=None, sees_theta=True)


def test_truth_that_is_missing_or_has_no_fixed_prior_is_refused() -> None:
    phi = bm.Amortised(bound=bm.Simulated())
    theta = bm.Point(adam=bm.Adam(steps=2, compile=False))
    with pytest.raises(bm.StructureError, match=r"truth is in no column of x: phi; give each"):
        bm.fit(known, draw_tasks(3, 0), theta=theta, phi=phi, progress=False)
    tasks = normal_means.tasks(num_tasks=6)
    told = bm.Tasks.from_arrays(tasks.y, {"phi": torch.zeros(6, 1)}, tasks.mask)
    with pytest.raises(bm.StructureError, match=r"the model has theta \(mu\)"):
        bm.fit(normal_means.model, told, theta=theta, phi=phi, progress=False)


def test_columns_are_told_by_their_names() -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(MU, TAU))
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = phi * tasks.x["a"] + tasks.x["b"]
                pyro.sample("y", dist.Normal(mean, SIGMA), obs=tasks.y)

    y = torch.arange(6.0).reshape(3, 2)
    columns = {"a": y.sqrt(), "b": y.sin()}
    theta = bm.Point(adam=bm.Adam(steps=2, compile=False))
    given = bm.Tasks.from_arrays(y, columns)
    post = bm.fit(model, given, theta=theta, phi=bm.Amortised(draws=5), progress=False)
    turned = bm.Tasks.from_arrays(y, {"b": columns["b"], "a": columns["a"]})
    assert torch.equal(post.adapt(turned).phi["phi"], post.adapt(given).phi["phi"])
    more = bm.Tasks.from_arrays(y, {**columns, "c": y})
    with pytest.raises(bm.StructureError, match=r"columns a, b, c, but .* trained on a, b, all"):
        post.adapt(more)
    assert post.adapt(more, phi=bm.Laplace(draws=5)).phi["phi"].isfinite().all()


def test_a_predictive_bound_without_a_query_is_noted() -> None:
    theta = bm.Point(adam=bm.Adam(steps=2, compile=False))
    phi = bm.Amortised(bound=bm.Predictive(1))
    post = bm.fit(known, draw_tasks(3, 0), theta=theta, phi=phi, progress=False)
    assert any("without a query phi=bm.Amortised() is scored by" in note for note in post.notes)
