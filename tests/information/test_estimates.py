"""information: against normal distributions, whose entropies are known, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.information.estimates import Estimate
from bayesmeta.models import eight_schools, lecture, normal_means

Model = Callable[[bm.Tasks], None]
TWO = lecture.tasks(num_tasks=2, num_data=1)
SHARED, OWN = lecture.THETA_SD**2, lecture.PHI_SD**2


def normal_entropy(variance: float) -> float:
    return 0.5 * math.log(2 * math.pi * math.e * variance)


def prior_of(model: Model, draws: int = 5000, tasks: bm.Tasks = TWO) -> bm.Posterior:
    return bm.prior(model, tasks, draws=draws)


def close(found: Estimate, expected: float, errors: float = 4.0) -> None:
    """Within so many Monte Carlo errors, which are themselves small."""
    distance = (found.value - expected).abs()
    assert (found.error < 0.07).all() and (distance <= errors * found.error).all(), found


def without_theta(tasks: bm.Tasks) -> None:
    """phi as it is spread over theta, but not tied to it: what must not pass for the lecture's."""
    pyro.sample("theta", dist.Normal(0.0, lecture.THETA_SD))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, math.sqrt(SHARED + OWN)))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi * tasks.x["x"], 1.0), obs=tasks.y)


def check_the_lecture(model: Model) -> None:
    prior = prior_of(model)
    close(bm.information.entropy(prior, "theta"), normal_entropy(SHARED))
    close(bm.information.entropy(prior, "phi"), normal_entropy(SHARED + OWN))
    close(bm.information.conditional_entropy(prior), normal_entropy(OWN))
    gap = normal_entropy(SHARED + OWN) - normal_entropy(OWN)
    close(bm.information.mutual_information(prior, "phi", "theta"), gap)
    both = normal_entropy(SHARED) + normal_entropy(OWN)
    close(bm.information.entropy(prior, ["theta", "phi"]), both)


def test_the_entropies_of_the_lecture() -> None:
    check_the_lecture(lecture.meta_learning)
    with pytest.raises(AssertionError):
        check_the_lecture(without_theta)


def test_independent_sites_tell_nothing_of_each_other() -> None:
    close(bm.information.mutual_information(prior_of(without_theta), "phi", "theta"), 0.0)
    tied = bm.information.mutual_information(prior_of(lecture.meta_learning), "phi", "theta")
    with pytest.raises(AssertionError):
        close(tied, 0.0)


def test_a_value_a_task_after_data() -> None:
    tasks = normal_means.tasks(6, 8, ragged=True)
    known = bm.Fixed({"mu": torch.tensor(0.0)})
    post = bm.fit(normal_means.model, tasks, theta=known, phi=bm.Exact(4000), progress=False)
    found = bm.information.entropy(post, "phi")
    assert found.value.shape == found.error.shape == (6,)
    precision = 1 / normal_means.TAU**2 + tasks.sizes / normal_means.SIGMA**2
    expected = 0.5 * torch.log(2 * math.pi * math.e / precision)
    assert ((found.value - expected).abs() < 4 * found.error).all()
    # The check must see whose entropy is whose.
    assert not ((found.value - expected.roll(1)).abs() < 4 * found.error).all()


def test_the_new_task_of_a_point_estimate() -> None:
    post = bm.fit(
        lecture.meta_learning,
        TWO,
        theta=bm.Fixed({"theta": torch.tensor(1.0)}),
        phi=bm.Laplace(draws=10),
        progress=False,
    )
    with pytest.raises(ValueError, match=r"10 draws.*repeats"):
        bm.information.conditional_entropy(post)
    close(bm.information.conditional_entropy(post, repeats=500), normal_entropy(OWN))
    same = bm.information.conditional_entropy(post, repeats=500)
    assert torch.equal(same.value, bm.information.conditional_entropy(post, repeats=500).value)


def test_tasks_whose_columns_differ_have_other_entropies() -> None:
    def model(tasks: bm.Tasks) -> None:
        theta = pyro.sample("theta", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.LogNormal(theta, tasks.x["sd"]))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    sd = torch.tensor([[0.2], [1.0]], dtype=torch.float64)
    tasks = bm.Tasks.from_arrays(torch.ones(2, 1, dtype=torch.float64), {"sd": sd})
    found = bm.information.conditional_entropy(prior_of(model, tasks=tasks))
    for i in range(2):
        # A log-normal's has the mean of its logarithm on top, which is 0 on average over theta.
        close(Estimate(found.value[i], found.error[i]), normal_entropy(float(sd[i]) ** 2))


def test_what_has_no_density_is_refused() -> None:
    point = bm.Fixed({"theta": torch.tensor(1.0)})
    mode = bm.fit(lecture.meta_learning, TWO, theta=point, phi=bm.Mode(), progress=False)
    with pytest.raises(ValueError, match=r"1 draws, and at least 100"):
        bm.information.entropy(mode, "phi")
    exact = bm.fit(lecture.meta_learning, TWO, theta=point, phi=bm.Exact(500), progress=False)
    with pytest.raises(bm.StructureError, match=r"point estimate.*bm\.NUTS"):
        bm.information.entropy(exact, "theta")
    with pytest.raises(bm.StructureError, match="point estimate"):
        bm.information.mutual_information(exact, "phi", "theta")
    prior = prior_of(lecture.meta_learning, 500)
    with pytest.raises(bm.StructureError, match=r"no site 'mu'.*theta, phi"):
        bm.information.entropy(prior, "mu")
    with pytest.raises(bm.StructureError, match="on both sides"):
        bm.information.mutual_information(prior, ["theta", "phi"], "phi")
    with pytest.raises(ValueError, match="k=0"):
        bm.information.entropy(prior, "phi", k=0)


def test_equal_draws_of_a_posterior_are_refused_by_the_site() -> None:
    def constant(tasks: bm.Tasks) -> None:
        scale = pyro.param("scale", torch.tensor(1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, scale))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi * tasks.x["x"], 1.0), obs=tasks.y)

    prior = prior_of(constant, 500)
    with pytest.raises(ValueError, match=r"draws of scale have no density.*diagnose"):
        bm.information.entropy(prior, "scale")


def test_a_simplex_is_refused() -> None:
    def shares(tasks: bm.Tasks) -> None:
        theta = pyro.sample("theta", dist.Dirichlet(torch.ones(3, dtype=tasks.dtype)))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta[0], 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi * tasks.x["x"], 1.0), obs=tasks.y)

    with pytest.raises(bm.StructureError, match="of 3 numbers of site 'theta' only 2 are free"):
        bm.information.entropy(prior_of(shares, 500), "theta")


def test_a_factor_of_phi_is_refused() -> None:
    def tilted(tasks: bm.Tasks) -> None:
        theta = pyro.sample("theta", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0))
            pyro.factor("tilt", -0.5 * phi**2)
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi * tasks.x["x"], 1.0), obs=tasks.y)

    with pytest.raises(bm.StructureError, match=r"factor 'tilt'.*without its constant"):
        bm.information.conditional_entropy(prior_of(tilted, 500))


@pytest.mark.slow
def test_a_sampled_posterior_that_is_noncentred() -> None:
    nuts = bm.NUTS(chains=2, tune=300, draws=500, noncentred=("effect",), compile=False)
    tasks = eight_schools.tasks()
    post = bm.fit(eight_schools.model, tasks, theta=nuts, phi=bm.Joint(), progress=False)
    # At each draw of theta a new effect is normal around mu, with the entropy of its tau.
    expected = normal_entropy(1.0) + float(post.theta["tau"].log().mean())
    found = bm.information.conditional_entropy(post)
    assert ((found.value - expected).abs() < 4 * found.error).all() and found.error.max() < 0.1
    # The density that was sampled is that of u, a standard normal: not what was asked.
    assert not ((found.value - normal_entropy(1.0)).abs() < 4 * found.error).any()
