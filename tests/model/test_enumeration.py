"""Finite discrete latents are summed out: against sums by hand, and mixtures that are summed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.outcomes import pointwise
from bayesmeta.model.prior import draw_prior
from bayesmeta.model.reading import read

RANDOM = np.random.default_rng(5)
SIZES = (4, 2, 5, 3)
Y = [RANDOM.poisson(3.0, size=size).astype(float) for size in SIZES]
TASKS = bm.Tasks.from_list(Y, names=list("abcd")).to(dtype=torch.float64)
FAST = bm.NUTS(chains=2, tune=200, draws=300, compile=False)


def plates(tasks: bm.Tasks) -> tuple[pyro.plate, pyro.plate]:
    return (
        pyro.plate("tasks", tasks.num_tasks, dim=-2),
        pyro.plate("data", tasks.num_data, dim=-1),
    )


def two_kinds(tasks: bm.Tasks) -> None:
    """A task is of one of two kinds, which tells where its phi is."""
    p, gap = pyro.sample("p", dist.Beta(2.0, 3.0)), pyro.sample("gap", dist.LogNormal(0.0, 0.5))
    by_task, by_row = plates(tasks)
    with by_task:
        kind = pyro.sample("kind", dist.Bernoulli(p))
        phi = pyro.sample("phi", dist.Normal(1 + gap * kind, 0.5))
        with by_row:
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def two_kinds_by_hand(tasks: bm.Tasks) -> None:
    p, gap = pyro.sample("p", dist.Beta(2.0, 3.0)), pyro.sample("gap", dist.LogNormal(0.0, 0.5))
    means = torch.stack([torch.ones(()), 1 + gap])
    mixture = dist.Categorical(torch.stack([1 - p, p]))
    by_task, by_row = plates(tasks)
    with by_task:
        phi = pyro.sample("phi", dist.MixtureSameFamily(mixture, dist.Normal(means, 0.5)))
        with by_row:
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def zero_inflated(tasks: bm.Tasks) -> None:
    """A count is a zero by itself, or of a Poisson distribution."""
    p = pyro.sample("p", dist.Beta(2.0, 3.0))
    by_task, by_row = plates(tasks)
    with by_task:
        phi = pyro.sample("phi", dist.Normal(1.0, 0.5))
        with by_row:
            absent = pyro.sample("absent", dist.Bernoulli(p))
            rate = torch.where(absent > 0, 1e-6, phi.exp())
            pyro.sample("y", dist.Poisson(rate), obs=tasks.y)


def zero_inflated_by_hand(tasks: bm.Tasks) -> None:
    p = pyro.sample("p", dist.Beta(2.0, 3.0))
    by_task, by_row = plates(tasks)
    with by_task:
        phi = pyro.sample("phi", dist.Normal(1.0, 0.5))
        with by_row:
            rates = torch.stack([phi.exp(), torch.full_like(phi, 1e-6)], -1).expand(
                *tasks.mask.shape, 2
            )
            mixture = dist.Categorical(torch.stack([1 - p, p]).expand(*tasks.mask.shape, 2))
            mixed = dist.MixtureSameFamily(mixture, dist.Poisson(rates))
            pyro.sample("y", mixed, obs=tasks.y)


def nested(tasks: bm.Tasks) -> None:
    """What a datapoint is depends on what its task is, and so do two outcomes and a class."""
    shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
    by_task, by_row = plates(tasks)
    with by_task:
        first = pyro.sample("first", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])))
        second = pyro.sample("second", dist.Bernoulli(torch.tensor([0.1, 0.6, 0.7])[first]))
        phi = pyro.sample("phi", dist.Normal(shift + first, 1 + second))
        with by_row:
            row = pyro.sample("row", dist.Bernoulli(0.2 + 0.3 * second))
            pyro.sample("y", dist.Normal(phi + 2 * row, 1.0), obs=tasks.y)
            pyro.sample("u", dist.Normal(phi * row, 2.0), obs=tasks.y)


def nested_by_hand(theta: Tensor, phi: Tensor) -> Tensor:
    """log p(phi_i, D_i | theta) by loops over tasks, values and rows."""
    shift, found = theta[0], []
    for i, y in enumerate(Y):
        of_task = []
        for first, p_first in enumerate((0.2, 0.5, 0.3)):
            for second in (0, 1):
                p_second = (0.1, 0.6, 0.7)[first] if second else 1 - (0.1, 0.6, 0.7)[first]
                total = math.log(p_first) + math.log(p_second)
                total = total + dist.Normal(shift + first, 1.0 + second).log_prob(phi[i, 0])
                for value in torch.from_numpy(y):
                    each = []
                    for row in (0, 1):
                        p_row = 0.2 + 0.3 * second if row else 0.8 - 0.3 * second
                        term = math.log(p_row) + dist.Normal(phi[i, 0] + 2 * row, 1.0).log_prob(
                            value
                        )
                        each.append(term + dist.Normal(phi[i, 0] * row, 2.0).log_prob(value))
                    total = total + torch.stack(each).logsumexp(0)
                of_task.append(total)
        found.append(torch.stack(of_task).logsumexp(0))
    return torch.stack(found)


def change_point(tasks: bm.Tasks) -> None:
    """From some row on a task is another."""
    early = pyro.sample("early", dist.Normal(0.0, 1.0))
    by_task, by_row = plates(tasks)
    with by_task:
        when = pyro.sample("when", dist.Categorical(torch.ones(4)))
        with by_row:
            later = torch.arange(tasks.num_data) >= when
            pyro.sample("y", dist.Normal(torch.where(later, early + 2, early), 1.0), obs=tasks.y)


def points(model: Callable[[bm.Tasks], None]) -> tuple[Density, Tensor, Tensor]:
    density = Density(read(model, TASKS))
    torch.manual_seed(1)
    return density, *draw_prior(density, TASKS)


@pytest.mark.parametrize(
    ("model", "other"), [(two_kinds, two_kinds_by_hand), (zero_inflated, zero_inflated_by_hand)]
)
def test_the_density_is_the_mixtures(model: Callable, other: Callable) -> None:
    (density, theta, phi), (mixture, *_) = points(model), points(other)
    theta.requires_grad_()
    ours, right = (d.terms(theta, phi, TASKS) for d in (density, mixture))
    for a, b in zip(ours, right, strict=True):
        assert torch.allclose(a, b, atol=1e-10)
    slopes = (torch.autograd.grad(sum(t.sum() for t in x), theta)[0] for x in (ours, right))
    assert torch.allclose(*slopes, atol=1e-9)
    assert torch.allclose(
        density.log_likelihood(theta, phi, TASKS), mixture.log_likelihood(theta, phi, TASKS)
    )


def test_values_of_tasks_and_rows_are_summed_as_loops_do() -> None:
    density, theta, phi = points(nested)
    terms = density.terms(theta, phi, TASKS)
    assert torch.allclose(terms.phi + terms.data, nested_by_hand(theta, phi), atol=1e-10)
    assert density.reading.summed.sizes == (6, 2)
    # A sum that forgets that rows share their task's value is another one.
    apart = density.log_likelihood(theta, phi, TASKS)
    assert not torch.allclose(nested_by_hand(theta, phi), apart, atol=0.1)


def test_a_factor_of_theta_counts() -> None:
    def weighed(tasks: bm.Tasks) -> None:
        two_kinds(tasks)
        pyro.factor("weight", torch.tensor(-3.0))

    (density, theta, phi), (plain, *_) = points(weighed), points(two_kinds)
    terms, without = (d.terms(theta, phi, TASKS) for d in (density, plain))
    assert torch.allclose(terms.theta, without.theta - 3)
    assert torch.equal(terms.data, without.data)


def test_padding_is_summed_to_nothing() -> None:
    for model in (zero_inflated, nested, change_point):
        density, theta, phi = points(model)
        wide = TASKS.widen(9)
        found, padded = density.terms(theta, phi, TASKS), density.terms(theta, phi, wide)
        assert torch.allclose(found.data, padded.data, atol=1e-12)


PAIRS = {
    "NUTS + Joint": {"theta": FAST, "phi": bm.Joint()},
    "Point + Laplace": {"theta": bm.Point(), "phi": bm.Laplace()},
    "Point + GradientSteps": {
        "theta": bm.Point(adam=bm.Adam(steps=200)),
        "phi": bm.GradientSteps(2, lr=0.1),
    },
    "Point + Amortised": {"theta": bm.Point(adam=bm.Adam(steps=20)), "phi": bm.Amortised()},
    "Gaussian + Joint": {"theta": bm.Gaussian(adam=bm.Adam(steps=200)), "phi": bm.Joint()},
}


SLOW = {"NUTS + Joint"}


@pytest.mark.parametrize(
    "pair", [pytest.param(p, marks=pytest.mark.slow) if p in SLOW else p for p in PAIRS]
)
def test_every_pair_finds_what_it_finds_of_the_mixture(pair: str) -> None:
    post, right = (
        bm.fit(m, TASKS, **PAIRS[pair], progress=False) for m in (two_kinds, two_kinds_by_hand)
    )
    loose = 0.05 if post.is_point else 0.3
    for name in right.theta:
        scale = 1.0 if post.is_point else float(right.theta[name].std())
        assert abs(post.theta[name].mean() - right.theta[name].mean()) < loose * scale
    assert torch.allclose(post.phi["phi"].mean((0, 1)), right.phi["phi"].mean((0, 1)), atol=0.15)
    chances = post.probabilities["kind"]
    assert torch.allclose(chances.sum(-1), torch.ones(()).to(chances))
    p, gap = (post.theta[n][..., None] for n in ("p", "gap"))
    odds = [dist.Normal(1 + k * gap, 0.5).log_prob(post.phi["phi"]) for k in (0, 1)]
    want = (odds[1] + p.log()).exp() / ((odds[1] + p.log()).exp() + (odds[0] + (1 - p).log()).exp())
    assert torch.allclose(chances[..., 1], want, atol=1e-5)


def test_what_is_predicted_and_scored_is_of_the_mixture() -> None:
    known = bm.Fixed({"p": torch.tensor(0.3)})
    post, right = (
        bm.fit(m, TASKS, theta=known, phi=bm.HMC(draws=4000), progress=False)
        for m in (zero_inflated, zero_inflated_by_hand)
    )
    assert torch.allclose(post.log_score(), right.log_score(), atol=0.05, equal_nan=True)
    ours, theirs = post.predict(), right.predict()
    assert torch.allclose(ours.mean, theirs.mean, atol=0.15, equal_nan=True)
    assert torch.allclose(ours.sd, theirs.sd, rtol=0.05, equal_nan=True)
    zeros = (ours.draws == 0).double().mean((0, 1))[0, 0]
    assert zeros == pytest.approx(float((theirs.draws == 0).double().mean((0, 1))[0, 0]), abs=0.04)
    assert zeros > 0.3
    # By hand: p(absent | y = 0), and none where a count is positive.
    rate = post.phi["phi"].exp()[..., None].expand(1, 4000, *TASKS.y.shape)
    want = torch.where(TASKS.y == 0, 0.3 / (0.3 + 0.7 * (-rate).exp()), 0.0)
    found = post.probabilities["absent"][..., 1]
    assert torch.allclose(found[..., TASKS.mask], want[..., TASKS.mask], atol=1e-4)
    drawn = post.phi["absent"].mean((0, 1))
    assert torch.allclose(drawn[TASKS.mask], found.mean((0, 1))[TASKS.mask], atol=0.05)
    assert drawn[1, 4].isnan() and found[0, 0, 1, 4].isnan()


def test_a_task_keeps_its_own_value_in_what_is_said_of_it() -> None:
    y = torch.tensor([[0.0, 0.1, -0.2, 2.1, 1.9], [2.2, 1.8, 2.0, 1.7, 2.3]], dtype=torch.float64)
    tasks = bm.Tasks.from_arrays(y, names=["a", "b"])
    point = bm.fit(change_point, tasks, theta=bm.Point(), progress=False)
    assert point.probabilities["when"][0, 0].argmax(-1).tolist() == [3, 0]
    many = bm.fit(
        change_point,
        tasks,
        theta=FAST,
        progress=False,
    )
    assert set(many.phi) == {"when"}
    mean = many.predict().mean
    assert mean[0, 0] < 0.8 < mean[0, 4] and mean[1, 0] > 1.2
    wrong = bm.Tasks.from_arrays(y.roll(1, 0), names=["a", "b"])
    assert many.log_score(wrong).sum() < many.log_score().sum() - 3
    new = many.adapt(tasks.select(torch.tensor([1])))
    assert new.phi["when"].mean() < 0.5
    found = many.to_arviz()["posterior"]
    assert found["when"].dims == ("chain", "draw", "tasks")


@pytest.mark.slow
def test_a_task_has_the_same_draws_in_any_company() -> None:
    post = bm.fit(nested, TASKS, theta=FAST, progress=False)
    alone = post.adapt(TASKS.select(torch.tensor([2])))
    beside = post.adapt(TASKS)
    assert torch.equal(alone.phi["row"][:, :, 0], beside.phi["row"][:, :, 2])
    assert torch.equal(alone.phi["first"][..., 0], beside.phi["first"][..., 2])


def test_prior_draws_are_of_the_prior() -> None:
    prior = bm.prior(two_kinds, TASKS, draws=2000)
    assert abs(prior.phi["kind"].mean() - 0.4) < 0.05
    high, low = (prior.phi["phi"][prior.phi["kind"] == k].mean() for k in (1, 0))
    assert low == pytest.approx(1.0, abs=0.05) and high - low > 0.8
    again = bm.prior(zero_inflated, TASKS, draws=1000)
    zeros = again.predict().draws[..., TASKS.mask]
    assert (zeros == 0).double().mean() > 0.4


def test_a_posterior_is_saved_with_the_values_of_its_tasks(tmp_path) -> None:
    post = bm.fit(nested, TASKS, theta=FAST, progress=False)
    post.save(tmp_path / "run")
    again = bm.load(tmp_path / "run", nested)
    first = post.predict(TASKS, outcome="y", seed=1).mean
    assert torch.allclose(again.predict(TASKS, outcome="y", seed=1).mean, first, equal_nan=True)
    assert torch.allclose(again.log_score(TASKS), post.log_score(TASKS), equal_nan=True)


def test_outcomes_share_the_value_of_their_row() -> None:
    density, theta, phi = points(nested)
    states = torch.tensor([[0.0], [3.0], [5.0], [2.0]], dtype=torch.float64)
    at = density, theta, torch.cat([phi, states], 1), TASKS
    both = pointwise(*at, ["y", "u"])
    apart = pointwise(*at, ["y"]) + pointwise(*at, ["u"])
    assert not torch.allclose(both, apart, atol=0.01)
    second, y = 1, TASKS.y[1, 0]
    each = [
        math.log(p)
        + dist.Normal(phi[1, 0] + 2 * k, 1.0).log_prob(y)
        + dist.Normal(phi[1, 0] * k, 2.0).log_prob(y)
        for k, p in ((0, 0.8 - 0.3 * second), (1, 0.2 + 0.3 * second))
    ]
    assert torch.allclose(both[1, 0], torch.stack(each).logsumexp(0))


def masked_kind(tasks: bm.Tasks) -> None:
    by_task, by_row = plates(tasks)
    with by_task:
        phi = pyro.sample("phi", dist.Normal(1.0, 0.5))
        with by_row, pyro.poutine.mask(mask=tasks.y < 4 if tasks.y is not None else tasks.mask):
            row = pyro.sample("row", dist.Bernoulli(0.4))
            pyro.sample("y", dist.Normal(phi + row, 1.0), obs=tasks.y)


def test_what_is_masked_counts_for_nothing() -> None:
    density, theta, phi = points(masked_kind)
    each = [
        math.log(p) + dist.Normal(phi + k, 1.0).log_prob(TASKS.y) for k, p in ((0, 0.6), (1, 0.4))
    ]
    shown = TASKS.mask & (TASKS.y < 4)
    want = torch.where(shown, torch.stack(each).logsumexp(0), 0.0).sum(1)
    assert torch.allclose(density.terms(theta, phi, TASKS).data, want)


def refused(model: Callable[[bm.Tasks], None], **pair: object) -> str:
    with pytest.raises((bm.StructureError, ValueError)) as error:
        bm.fit(model, TASKS, **{"theta": FAST, "phi": bm.Joint(), **pair}, progress=False)
    return str(error.value)


def test_too_many_values_are_refused_when_they_are_read() -> None:
    def model(tasks: bm.Tasks) -> None:
        by_task, by_row = plates(tasks)
        with by_task:
            one = pyro.sample("one", dist.Categorical(torch.ones(13)))
            two = pyro.sample("two", dist.Categorical(torch.ones(5)))
            with by_row:
                pyro.sample("y", dist.Normal(0.5 * one + two, 1.0), obs=tasks.y)

    with pytest.raises(bm.StructureError, match=r"one \(13\), two \(5\) have 65 .*at most 64"):
        bm.structure(model, TASKS)


@pytest.mark.parametrize("use", ["if", "cat", "mean", "chance"])
def test_a_use_that_does_not_hold_for_all_values_at_once_is_refused(use: str) -> None:
    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        by_task, by_row = plates(tasks)
        with by_task:
            kind = pyro.sample("kind", dist.Bernoulli(0.5))
            if use == "if":
                shift = 1.0 if bool((kind > 0).all()) else 0.0
            elif use == "cat":
                shift = (
                    torch.cat([kind, kind + mu], -1)[..., :1] if kind.shape[0] == 4 else kind[:1]
                )
            elif use == "mean":
                shift = kind.mean() + 0 * kind
            else:
                shift = pyro.sample("other", dist.Bernoulli(0.2 + 0.3 * kind.mean()))
            with by_row:
                pyro.sample("y", dist.Normal(mu + shift, 1.0), obs=tasks.y)

    words = refused(model)
    if use in ("if", "mean", "chance"):
        assert "depends on 'kind' of task" in words
    else:
        assert "all values" in words and "torch.where" in words


@pytest.mark.slow
def test_what_cannot_be_summed_out_is_refused_in_words() -> None:
    def further(tasks: bm.Tasks) -> None:
        by_task, by_row = plates(tasks)
        with by_task:
            with pyro.plate("parts", 2, dim=-3):
                part = pyro.sample("part", dist.Bernoulli(0.5))
            with by_row:
                pyro.sample("y", dist.Normal(part.sum(-3), 1.0), obs=tasks.y)

    def beside(tasks: bm.Tasks) -> None:
        by_task, by_row = plates(tasks)
        with by_task, by_row:
            row = pyro.sample("row", dist.Bernoulli(0.5))
            off = pyro.sample("off", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(row + off, 1.0), obs=tasks.y)

    def edge(tasks: bm.Tasks) -> None:
        by_task, by_row = plates(tasks)
        with by_task:
            kind = pyro.sample("kind", dist.Bernoulli(0.5))
            phi = pyro.sample("phi", dist.Uniform(0.0, 1 + kind))
            with by_row:
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    assert "further plate 'parts'" in refused(further)
    assert "'off' is a continuous latent in the plate 'data'" in refused(beside)
    assert "support of site 'phi' depends on the discrete kind" in refused(edge)
    assert "discrete kind makes a mixture" in refused(two_kinds, phi=bm.Exact())
    support, query = TASKS.split(1)
    given = {"theta": bm.Point(), "phi": bm.GradientSteps(), "progress": False}
    with pytest.raises(ValueError, match="discrete kind of a task"):
        bm.fit(two_kinds, support, query=query, **given)
    bm.fit(
        zero_inflated, support, query=query, **{**given, "theta": bm.Point(adam=bm.Adam(steps=2))}
    )


def three(e: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(e), e, 2 * e], -1)


FAMILIES: dict[str, tuple[Callable[[Tensor], dist.Distribution], object]] = {
    "Binomial": (lambda e: dist.Binomial(4, logits=e), [[0, 4, 2], [1, 3, 3]]),
    "BetaBinomial": (
        lambda e: dist.BetaBinomial(e.exp(), 2.0, total_count=4),
        [[0, 4, 2], [1, 3, 3]],
    ),
    "Categorical": (lambda e: dist.Categorical(logits=three(e)), [[0, 1, 2], [2, 1, 1]]),
    "OrderedLogistic": (
        lambda e: dist.OrderedLogistic(e, torch.tensor([-1.0, 1.0]).to(e)),
        [[0, 1, 2], [2, 1, 1]],
    ),
    "Multinomial": (
        lambda e: dist.Multinomial(2, logits=three(e)),
        [[[2, 0, 0]] * 3, [[0, 1, 1]] * 3],
    ),
    "MultivariateNormal": (
        lambda e: dist.MultivariateNormal(torch.stack([e, -e], -1), torch.eye(2).to(e)),
        [[[0.1, 0.2]] * 3, [[1.0, -1.0]] * 3],
    ),
    "Uniform": (lambda e: dist.Uniform(0.0, 3 + e.exp()), [[0.1, 2.0, 2.9]] * 2),
    "Censored": (lambda e: bm.Censored(dist.Normal(e, 1.0), upper=1.0), [[0.1, 1.0, -2.0]] * 2),
    "Mixture": (
        lambda e: dist.MixtureSameFamily(
            dist.Categorical(torch.ones(2).to(e)), dist.Normal(torch.stack([e, e + 2], -1), 1.0)
        ),
        [[0.1, 1.0, -2.0]] * 2,
    ),
}


@pytest.mark.parametrize("level", ["task", "row"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_outcomes_is_summed(family: str, level: str) -> None:
    make, y = FAMILIES[family]
    tasks = bm.Tasks.from_arrays(y, names="ab").to(dtype=torch.float64)

    def model(tasks: bm.Tasks) -> None:
        by_task, by_row = plates(tasks)
        with by_task:
            z = pyro.sample("z", dist.Bernoulli(0.4)) if level == "task" else None
            phi = pyro.sample("phi", dist.Normal(0.0, 0.5))
            with by_row:
                z = pyro.sample("z", dist.Bernoulli(0.4)) if level == "row" else z
                pyro.sample("y", make(phi + z), obs=tasks.y)

    reading = read(model, tasks)
    reading.check_sums(tasks)
    assert set(reading.bounded) == ({"y"} if family == "Uniform" else set())
    density = Density(reading)
    phi = torch.tensor([[0.3], [-0.2]], dtype=torch.float64)
    each = [make((phi + k).expand(2, 3)).log_prob(tasks.y) for k in (0, 1)]
    if level == "task":
        each = [x.sum(1) for x in each]
    want = torch.stack([math.log(0.6) + each[0], math.log(0.4) + each[1]]).logsumexp(0)
    found = density.terms(torch.zeros(0, dtype=torch.float64), phi, tasks).data
    assert torch.allclose(found, want if level == "task" else want.sum(1), atol=1e-6)
    post = bm.fit(model, tasks, theta=bm.Fixed({}), phi=bm.Laplace(draws=6), progress=False)
    assert post.predict().mean.isfinite().all() and post.log_score().isfinite().all()


READS = {
    "largest": lambda z: z.amax(-1, keepdim=True),
    "mean": lambda z: z.mean(-1, keepdim=True),
    "first": lambda z: z[..., :1],
    "lag": lambda z: torch.roll(z, 1, -1),
    "next task": lambda z: torch.roll(z, 1, -2) if z.shape[-2] > 1 else z,
}


@pytest.mark.parametrize("read_by", READS)
def test_rows_that_read_each_others_values_are_refused(read_by: str) -> None:
    def model(tasks: bm.Tasks) -> None:
        by_task, by_row = plates(tasks)
        with by_task:
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with by_row:
                z = pyro.sample("z", dist.Bernoulli(0.4))
                pyro.sample("y", dist.Normal(phi + 3 * READS[read_by](z), 1.0), obs=tasks.y)

    tasks = bm.Tasks.from_arrays([[0.0, 3.0, 1.0], [2.0, -1.0, 0.5]])
    with pytest.raises(bm.StructureError):
        bm.fit(model, tasks, theta=bm.Fixed({}), phi=bm.Laplace(), progress=False)


def far_kinds(tasks: bm.Tasks, *, of_one_place: bool) -> None:
    low = pyro.sample("low", dist.Normal(470.0, 1.0))
    by_task, by_row = plates(tasks)
    with by_task:
        kind = pyro.sample("kind", dist.Bernoulli(0.4))
        if of_one_place:
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            phi = pyro.deterministic("phi", low + 90 * kind + 5 * u)
        else:
            phi = pyro.sample("phi", dist.Normal(low + 90 * kind, 5.0))
        with by_row:
            pyro.sample("y", dist.Normal(phi, 54.0), obs=tasks.y)


@pytest.mark.slow
def test_kinds_far_apart_are_told_and_right_by_a_latent_of_one_place() -> None:
    y = 470 + 90 * (np.arange(6)[:, None] % 2) + RANDOM.normal(scale=54, size=(6, 4))
    tasks = bm.Tasks.from_arrays(y, names="abcdef")
    apart, one = (
        bm.fit(lambda t, k=k: far_kinds(t, of_one_place=k), tasks, theta=FAST, progress=False)
        for k in (False, True)
    )
    assert "'phi' is drawn from places 18.0 of its standard deviations apart" in str(
        apart.diagnose()
    )
    assert "places" not in str(one.diagnose())
    sd, mean = np.hypot(np.hypot(5, 1), 54 / 2), y.mean(1)
    odds = [np.exp(-((mean - at) ** 2) / (2 * sd**2)) * p for at, p in ((470, 0.6), (560, 0.4))]
    right = odds[1] / (odds[0] + odds[1])
    assert np.allclose(one.probabilities["kind"][..., 1].mean((0, 1)), right, atol=0.08)
    assert torch.allclose(
        one.phi["phi"], one.theta["low"][..., None] + 90 * one.phi["kind"] + 5 * one.phi["u"]
    )
    new = one.adapt(bm.Tasks.from_arrays([[515.0, 515.0]], mask=[[False, False]]))
    assert float(new.probabilities["kind"][..., 1].mean()) == pytest.approx(0.4, abs=1e-6)
    named = bm.NUTS(noncentred=("phi",))
    with pytest.raises(bm.StructureError, match="'phi', whose loc or scale depends on"):
        bm.fit(lambda t: far_kinds(t, of_one_place=False), tasks, theta=named, progress=False)


@pytest.mark.slow
def test_chances_of_what_was_stored_or_drawn_are_those_of_its_draws(tmp_path) -> None:
    post = bm.fit(nested, TASKS, theta=FAST, progress=False)
    post.save(tmp_path / "run")
    again = bm.load(tmp_path / "run", nested)
    assert torch.equal(again.phi["first"], post.phi["first"]) and "row" not in again.phi
    share = (post.phi["first"][..., None] == torch.arange(3)).double().mean((0, 1))
    assert torch.allclose(again.probabilities["first"].mean((0, 1)), share)
    assert torch.allclose(post.probabilities["first"].mean((0, 1)), share, atol=0.12)
    assert again.probabilities["row"].isnan().all()
    prior = bm.prior(two_kinds, TASKS, draws=2000)
    assert abs(prior.probabilities["kind"][..., 1].mean() - 0.4) < 0.05


def test_values_that_were_seen_have_no_chances() -> None:
    seen = [[1, 0, 1], [0, 1, 1]]

    def model(tasks: bm.Tasks) -> None:
        by_task, by_row = plates(tasks)
        with by_task:
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with by_row:
                given = tasks.x["x"].to(tasks.dtype)
                x = pyro.sample(
                    "x", dist.Bernoulli(0.3), obs=given, obs_mask=tasks.x["seen"].bool()
                )
                pyro.sample("y", dist.Normal(phi + 2 * x, 1.0), obs=tasks.y)

    columns = {"x": [[1, 0, 0], [0, 0, 1]], "seen": seen}
    tasks = bm.Tasks.from_arrays([[2.0, 0.1, 1.9], [0.3, 2.2, 2.1]], columns)
    post = bm.fit(model, tasks, theta=bm.Fixed({}), phi=bm.HMC(draws=50), progress=False)
    found = post.probabilities["x_unobserved"]
    assert torch.equal(found.isnan()[0, 0, ..., 0], torch.tensor(seen).bool())
