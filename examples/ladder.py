"""One model, every method: sine waves and eight schools, rung by rung.

A method of meta-learning is a choice of what to do with theta and what to do with phi_i. Here all
of them run on the same plates, and are judged by the same numbers: the error of the mean, minus the
log score a datapoint, how often a 90% band covers, and the time that training and adaptation take.

Sine waves (a network a task, noise of standard deviation 0.3, ten points to adapt to, 1,000 waves
never seen) show what a posterior over phi is worth. Every method trains for a minute: trials tell
how many steps that is, and nothing is compiled, which would take much of it. Eight schools, whose
posterior is known by quadrature, show what a posterior over theta is worth. Seconds are the
processor's, so that other work on it does not count as a method's; with OMP_NUM_THREADS=1 they are
those of a core. `python examples/ladder.py` takes a quarter of an hour and writes the tables to
out/ladder.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import bayesmeta as bm
from bayesmeta.models import eight_schools, last_layer, sinusoid

SHOTS, NOISE, SECONDS = 10, 0.3, 60
# As in MAML's paper, 0.01 on the mean squared error.
INNER_LR = 0.01 * 2 * NOISE**2 / SHOTS
NETWORK = sinusoid.sinusoid(sigma=NOISE, tau=0.1)
HEAD = last_layer.last_layer()


@dataclass(frozen=True)
class Rung:
    """A method on the sine waves.

    Attributes:
        model, pair: the model, and the pair that trains it.
        lr: the learning rate of theta.
        adapt: ways to adapt; None is the pair's own.
        joined: whether it trains on support and query together, for log p(D_i | theta).
    """

    name: str
    model: Callable[[bm.Tasks], None]
    pair: Callable[..., bm.Pair]
    lr: float = 1e-3
    adapt: tuple[bm.Phi | None, ...] = (None,)
    joined: bool = False


def steps_of(preset: Callable[..., bm.Pair], steps: int = 5) -> Callable[..., bm.Pair]:
    """A preset of so many gradient steps from theta."""
    return partial(preset, steps, INNER_LR, batch_size=25)


RUNGS = (
    Rung("all waves together", NETWORK, steps_of(bm.MAML, 0)),
    Rung("Reptile", NETWORK, steps_of(bm.Reptile)),
    Rung("first-order MAML", NETWORK, steps_of(bm.FOMAML)),
    Rung("MAML", NETWORK, steps_of(bm.MAML), adapt=(None, bm.Laplace(draws=50))),
    Rung("Meta-SGD", NETWORK, steps_of(bm.MetaSGD)),
    Rung("iMAML", NETWORK, partial(bm.IMAML, batch_size=25), lr=5e-3),
    Rung("LLAMA", NETWORK, partial(bm.LLAMA, draws=50, batch_size=25), lr=5e-3, joined=True),
    Rung("ALPaCA", HEAD, partial(bm.ALPaCA, draws=50, batch_size=25), lr=3e-3),
)

COLUMNS = ("error", "-log score", "90% band covers", "steps", "training, s", "adapting, s")


def train(rung: Rung, waves: bm.Tasks, steps: int) -> tuple[bm.Posterior, float]:
    """Train for so many steps; the posterior, and the seconds that it took."""
    adam = bm.Adam(lr=rung.lr, steps=steps, patience=0, compile=False)
    support, query = (waves, None) if rung.joined else waves.split(SHOTS)
    began = time.process_time()
    post = bm.fit(rung.model, support, query=query, **rung.pair(adam=adam))
    return post, time.process_time() - began


def steps_in(seconds: float, rung: Rung, waves: bm.Tasks) -> int:
    """How many steps are trained in so many seconds, start included, as longer trials tell."""
    steps = 20
    train(rung, waves, steps)  # what is done once in a process is done
    before = train(rung, waves, steps)[1]
    while True:
        spent = train(rung, waves, 4 * steps)[1]
        if spent > before + seconds / 15:
            return steps + int((seconds - before) / ((spent - before) / (3 * steps)))
        steps, before = 4 * steps, spent


def climb(
    rung: Rung, waves: bm.Tasks, new: bm.Tasks, unseen: bm.Tasks, smoke: bool
) -> dict[str, list[str]]:
    """Train, adapt to waves never seen in each way, and judge: rows by name."""
    steps = 5 if smoke else steps_in(SECONDS, rung, waves)
    post, trained = train(rung, waves, steps)
    rows = {}
    for way in rung.adapt:
        name = rung.name if way is None else f"{rung.name}, then {type(way).__name__}"
        began = time.process_time()
        adapted = post.adapt(new, phi=way)
        costs = [f"{steps:,}", f"{trained:.0f}", f"{time.process_time() - began:.1f}"]
        rows[name] = [*judge(adapted, unseen), *costs]
        print(name, *rows[name], sep=" | ", flush=True)
    return rows


def judge(adapted: bm.Posterior, unseen: bm.Tasks) -> list[str]:
    """Mean squared error with its standard error, minus the log score, and coverage."""
    found = adapted.predict(unseen)
    error = (found.mean - unseen.y).square().mean(1)
    covered = ((unseen.y - found.mean).abs() < 1.645 * found.sd).double().mean()
    return [
        f"{error.mean():.3f} +- {error.std() / len(error) ** 0.5:.3f}",
        f"{-adapted.log_score(unseen).mean():.2f}",
        f"{covered:.1%}",
    ]


SCHOOLS = {
    "NUTS, Joint": (bm.NUTS(draws=4000), bm.Joint()),
    "NUTS, Exact": (bm.NUTS(draws=4000), bm.Exact()),
    "NUTS, Laplace": (bm.NUTS(draws=4000), bm.Laplace()),
    "Gaussian, Joint": (bm.Gaussian(), bm.Joint()),
    "Gaussian, Exact": (bm.Gaussian(), bm.Exact()),
    "Point, Exact": (bm.Point(), bm.Exact()),
    "Point, Mode": (bm.Point(), bm.Mode()),
    "Point, GradientSteps": (bm.Point(), bm.GradientSteps(5, 10.0)),
}
SCHOOL_COLUMNS = ("E[mu]", "E[tau]", "sd[mu]", "sd[tau]", "worst effect, sd", "fitting, s")


def teach(theta: bm.Theta, phi: bm.Phi, smoke: bool) -> list[str]:
    """Fit the schools; moments, and the largest error of an effect's mean in posterior sds."""
    if smoke and isinstance(theta, bm.NUTS):
        theta = bm.NUTS(tune=50, draws=50, compile=False)
    elif smoke and isinstance(theta, bm.Point | bm.Gaussian):
        theta = replace(theta, adam=bm.Adam(steps=20, compile=False))
    began = time.process_time()
    post = bm.fit(eight_schools.model, eight_schools.tasks(), theta=theta, phi=phi)
    spent = time.process_time() - began
    mu, tau = post.theta["mu"], post.theta["tau"]
    mean, sd = eight_schools.REFERENCE["effect"]
    worst = ((post.phi["effect"].mean((0, 1)) - mean) / sd).abs().max()
    moments = (mu.mean(), tau.mean(), mu.std(correction=0), tau.std(correction=0))
    return [*(f"{x:.2f}" for x in moments), f"{worst:.2f}", f"{spent:.1f}"]


def table(title: str, columns: tuple[str, ...], rows: dict[str, list[str]]) -> str:
    """A table in Markdown."""
    head = f"| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}\n"
    return head + "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in rows.items())


def main() -> None:
    """Climb every rung on both data sets, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the tables go")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    count = 20 if args.smoke else 1000
    waves = sinusoid.tasks(100 if args.smoke else 20_000, 2 * SHOTS, noise=NOISE)
    new, unseen = sinusoid.tasks(count, SHOTS + 50, seed=1, noise=NOISE).split(SHOTS)
    rows = {}
    for rung in RUNGS:
        rows |= climb(rung, waves, new, unseen, args.smoke)
    (mu, sd_mu), (tau, sd_tau) = (eight_schools.REFERENCE[name] for name in ("mu", "tau"))
    schools = {"quadrature": [*(f"{x:.2f}" for x in (mu, tau, sd_mu, sd_tau)), "0", ""]}
    for name, (theta, phi) in SCHOOLS.items():
        schools[name] = teach(theta, phi, args.smoke)
        print(name, *schools[name], sep=" | ", flush=True)
    text = table("sine waves", COLUMNS, rows) + "\n"
    text += table("eight schools: theta, phi", SCHOOL_COLUMNS, schools)
    (args.out / "ladder.md").write_text(text)
    print(f"\n{text}\nwritten to {args.out / 'ladder.md'}")


if __name__ == "__main__":
    main()
