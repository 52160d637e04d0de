"""Amortised draws beside exact ones, by a classifier: sixteen priors, 0 to 30 datapoints.

    python -m benchmarks.exactness [MODEL ...]     writes results_exactness.md, or into --out

Each network is trained on 1,000 tasks of 0 to 30 datapoints that were drawn from its model, with
the defaults of bm.Amortised(), and adapts to eight others. Exact draws are picked among a million
of the prior by their likelihood; those of sixty weights are of the closed form. C2ST is the share
that a classifier gets right by five-fold cross-validation (Lopez-Paz & Oquab 2017): 0.5 is chance,
and of 1,000 draws each it is within 0.45 to 0.55 where they are alike. k is Pareto's; "said" is
where `diagnose` names the task.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import OrderedTransform
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier
from torch import Tensor

import bayesmeta as bm

Values = dict[str, Tensor]
Draw = Callable[[str, dist.Distribution], Tensor]
SIZES = (0, 1, 5, 30)
MOST, WEIGHTS, CANDIDATES, DRAWS = 30, 60, 1_000_000, 1000


@dataclass(frozen=True)
class Case:
    """A prior of phi, and outcomes given phi and the columns.

    Attributes:
        prior: the sites, each by `draw(name, distribution)`.
        outcome: of phi, and of x (tasks, data, 60), which few read.
        relative: whether it is one of those that nothing was tuned on.
    """

    prior: Callable[[Draw], Values]
    outcome: Callable[[Values, Tensor | None], dist.Distribution]
    relative: bool = False

    def model(self, tasks: bm.Tasks) -> None:
        """The Pyro model."""
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = self.prior(pyro.sample)
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", self.outcome(phi, tasks.x.get("x")), obs=tasks.y)


def vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers)


def dependent(draw: Draw) -> Values:
    a = draw("a", dist.Normal(0.0, 1.0))
    return {"a": a, "b": draw("b", dist.Normal(a, 0.1))}


def scale_and_effect(draw: Draw) -> Values:
    s = draw("s", dist.LogNormal(0.0, 1.0))
    return {"s": s, "b": draw("b", dist.Normal(0.0, s))}


def three(draw: Draw) -> Values:
    a = draw("a", dist.Normal(0.0, 1.0))
    b = draw("b", dist.Normal(a, 0.5))
    return {"a": a, "b": b, "c": draw("c", dist.Normal(a - b, 0.5))}


def beta_of_beta(draw: Draw) -> Values:
    a = draw("a", dist.Beta(2.0, 2.0))
    return {"a": a, "p": draw("p", dist.Beta(1 + 6 * a, 7 - 6 * a))}


def cutpoints(phi: Values) -> dist.Distribution:
    c = phi["c"]
    return dist.OrderedLogistic(torch.zeros(()).expand(c.shape[:-1]), c)


def ordered(draw: Draw) -> Values:
    base = dist.Normal(vector(-1.0, 0.0, 0.0), 1.0).to_event(1)
    return {"c": draw("c", dist.TransformedDistribution(base, [OrderedTransform()]))}


CASES: dict[str, Case] = {
    "b ~ N(a, 0.1), a ~ N(0, 1)": Case(dependent, lambda v, x: dist.Normal(v["b"], 1.0)),
    "scale and effect": Case(scale_and_effect, lambda v, x: dist.Normal(v["b"], 1.0)),
    "Gamma-Poisson": Case(
        lambda draw: {"rate": draw("rate", dist.Gamma(2.0, 1.0))},
        lambda v, x: dist.Poisson(v["rate"]),
    ),
    "Beta(.3, .3)-Bernoulli": Case(
        lambda draw: {"p": draw("p", dist.Beta(0.3, 0.3))}, lambda v, x: dist.Bernoulli(v["p"])
    ),
    "Cauchy": Case(
        lambda draw: {"m": draw("m", dist.Cauchy(0.0, 1.0))}, lambda v, x: dist.Normal(v["m"], 1.0)
    ),
    "Dirichlet-Categorical": Case(
        lambda draw: {"p": draw("p", dist.Dirichlet(vector(0.5, 0.5, 0.5, 0.5)))},
        lambda v, x: dist.Categorical(v["p"]),
    ),
    "ordered cutpoints": Case(ordered, lambda v, x: cutpoints(v)),
    "three correlated sites": Case(three, lambda v, x: dist.Normal(v["a"] + v["c"], 1.0)),
    "Student's t of 2": Case(
        lambda draw: {"m": draw("m", dist.StudentT(2.0, 0.0, 1.0))},
        lambda v, x: dist.Normal(v["m"], 1.0),
    ),
    "half-Cauchy scale": Case(
        lambda draw: {"s": draw("s", dist.HalfCauchy(1.0))}, lambda v, x: dist.Normal(0.0, v["s"])
    ),
    "Laplace, logistic": Case(
        lambda draw: {"m": draw("m", dist.Laplace(0.0, 1.0))},
        lambda v, x: dist.Bernoulli(logits=v["m"]),
    ),
    "sixty weights": Case(
        lambda draw: {"w": draw("w", dist.Normal(torch.zeros(WEIGHTS), 1.0).to_event(1))},
        lambda v, x: dist.Normal((x * v["w"]).sum(-1), 1.0),
    ),
    "inverse Gamma variance": Case(
        lambda draw: {"v": draw("v", dist.InverseGamma(3.0, 2.0))},
        lambda v, x: dist.Normal(0.0, v["v"].sqrt()),
        relative=True,
    ),
    "Beta of a Beta": Case(beta_of_beta, lambda v, x: dist.Bernoulli(v["p"]), relative=True),
    "Weibull rate, exponential": Case(
        lambda draw: {"rate": draw("rate", dist.Weibull(1.0, 2.0))},
        lambda v, x: dist.Exponential(v["rate"]),
        relative=True,
    ),
    "Gumbel, Poisson": Case(
        lambda draw: {"m": draw("m", dist.Gumbel(0.0, 0.5))},
        lambda v, x: dist.Poisson(v["m"].clamp(max=20).exp()),
        relative=True,
    ),
}


def from_prior(case: Case, count: int) -> Values:
    """So many draws of the sites."""

    def draw(name: str, fn: dist.Distribution) -> Tensor:
        return (fn if fn.batch_shape else fn.expand((count,))).sample()

    return case.prior(draw)


def simulate(case: Case, sizes: Sequence[int], seed: int) -> bm.Tasks:
    """A task of each size, drawn from the model."""
    pyro.set_rng_seed(seed)
    outcomes, columns = [], []
    for size in sizes:
        x = torch.randn(size, WEIGHTS)
        phi = from_prior(case, 1)
        outcomes.append(case.outcome(phi, x).expand((size,)).sample().tolist() if size else [])
        columns.append(x.tolist())
    needs_x = case is CASES["sixty weights"]
    return bm.Tasks.from_list(outcomes, {"x": columns} if needs_x else {})


def trained(case: Case, steps: int = 1500) -> bm.Posterior:
    """Of 1,000 tasks."""
    sizes = np.random.default_rng(0).integers(0, MOST + 1, 1000).tolist()
    adam = bm.Adam(lr=3e-3, steps=steps, patience=0)
    theta = bm.Point(batch_size=100, adam=adam)
    tasks = simulate(case, sizes, seed=0)
    return bm.fit(case.model, tasks, theta=theta, phi=bm.Amortised(draws=DRAWS), progress=False)


def exact(case: Case, tasks: bm.Tasks, task: int) -> np.ndarray:
    """Draws of phi of one task, (draws, numbers)."""
    rng, mask = np.random.default_rng(task), tasks.mask[task]
    y = tasks.y[task][mask]
    if case is CASES["sixty weights"]:
        x = tasks.x["x"][task][mask].double()
        precision = torch.eye(WEIGHTS, dtype=torch.float64) + x.T @ x
        root = np.linalg.cholesky(torch.linalg.inv(precision).numpy())
        mean = torch.linalg.solve(precision, x.T @ y.double()).numpy()
        return mean + rng.normal(size=(DRAWS, WEIGHTS)) @ root.T
    pyro.set_rng_seed(task)
    phi = from_prior(case, CANDIDATES)
    outcome = case.outcome(phi, None)
    log_w = sum((outcome.log_prob(one).double() for one in y), torch.zeros(CANDIDATES).double())
    share = log_w.softmax(0).numpy()
    at = rng.choice(CANDIDATES, DRAWS, p=share / share.sum())
    return np.concatenate([x[at].reshape(DRAWS, -1).numpy() for x in phi.values()], 1)


def c2st(found: np.ndarray, right: np.ndarray) -> float:
    """How often a network tells them apart; heavy tails are drawn in first."""
    low, middle, high = np.quantile(right, [0.16, 0.5, 0.84], axis=0)
    rows = np.concatenate([found, right])
    rows = np.arcsinh(np.clip((rows - middle) / (high - low + 1e-12), -1e30, 1e30))
    labels = np.repeat([0, 1], [len(found), len(right)])
    width = min(100, 10 * rows.shape[1])
    network = MLPClassifier((width, width), max_iter=300, random_state=0, early_stopping=True)
    return float(cross_val_score(network, rows, labels, cv=5).mean())


def judged(name: str, steps: int = 1500) -> list[tuple[int, float, float, bool]]:
    """Of eight tasks: datapoints, C2ST, Pareto k, and whether `diagnose` names the task."""
    case = CASES[name]
    post = trained(case, steps)
    tasks = simulate(case, SIZES * 2, seed=77)
    new = post.adapt(tasks)
    found = new.diagnose()
    rows = []
    for i, (task, k) in enumerate(found.pareto_k.items()):
        parts = [new.phi[site].flatten(0, 1)[:, i] for site in new.structure.phi]
        draws = np.concatenate([x.reshape(len(x), -1).numpy() for x in parts], 1)
        # Of many a message names the first few, and counts the others.
        is_named = not k <= 0.7 or any(f" {task} (" in message for message in found.messages)
        rows.append((SIZES[i % 4], c2st(draws, exact(case, tasks, i)), k, is_named))
    return rows


def main() -> None:
    """All cases, or those named, as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="MODEL")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| phi | " + " | ".join(f"{n} points" for n in SIZES) + " | training, s |"]
    lines.append("|---|" + "---|" * (len(SIZES) + 1))
    for name in given.names or CASES:
        began = time.perf_counter()
        rows = judged(name)
        took = time.perf_counter() - began
        cells = [
            ", ".join(
                f"{share:.2f}" + (f" (k {k:.1f}, said)" if said else "")
                for n, share, k, said in rows
                if n == size
            )
            for size in SIZES
        ]
        star = " *" if CASES[name].relative else ""
        lines.append(f"| {name}{star} | {' | '.join(cells)} | {took:.0f} |")
        print(lines[-1], flush=True)
    text = f"# {__doc__.splitlines()[0]}\n\n" + "\n".join(__doc__.splitlines()[4:]) + "\n"
    text += "\n".join(lines) + "\n\n* a relative: nothing was tuned on it.\n"
    (given.out / "results_exactness.md").write_text(text)


if __name__ == "__main__":
    main()
