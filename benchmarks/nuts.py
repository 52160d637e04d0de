"""Minimum effective samples per second of NUTS, one core: bayesmeta against its peers.

python -m benchmarks.nuts             the whole comparison, 30 minutes; writes results.md, .json
python -m benchmarks.nuts --smoke     a few steps of everything, to see that it runs
python -m benchmarks.nuts --only bayesmeta NumPyro --problems radon --out /tmp/results
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks import problems
from benchmarks.arena import Arena, Contestant, Run
from benchmarks.contest import Budget, Result
from benchmarks.report import Row, write
from benchmarks.score import Gap, Score, gap, pooled, score_draws

FULL = Budget(chains=4, tune=1000, draws=1000, seed=0)
SMOKE = Budget(chains=2, tune=20, draws=20, seed=0)
PROBLEMS = {
    "eight_schools": problems.eight_schools,
    "radon": problems.radon,
    "logistic": problems.logistic,
}
# Pyro is slow and gets fewer draws: samples per second are a rate.
PYRO_BUDGETS = {
    "eight_schools": Budget(chains=2, tune=500, draws=500, seed=0),
    "radon": Budget(chains=1, tune=300, draws=300, seed=0),
    "logistic": Budget(chains=1, tune=200, draws=200, seed=0),
}
CONTESTANTS = (
    Contestant("bayesmeta", "bayesmeta_nuts", ("bayesmeta",), ("bayesmeta", "torch", "nutpie")),
    Contestant("nutpie + PyMC", "pymc_nutpie", ("nutpie", "pymc"), ("pymc", "pytensor", "numba")),
    Contestant("Stan (pystan)", "pystan_nuts", ("stan",), ("pystan", "httpstan")),
    Contestant("NumPyro", "numpyro_nuts", ("numpyro",), ("numpyro", "jax", "jaxlib")),
    Contestant("Pyro NUTS, jit", "pyro_nuts", ("pyro",), ("pyro-ppl",), PYRO_BUDGETS),
)
Runs = dict[tuple[str, str], list[Run]]


def collect(chosen: list[Contestant], names: list[str], options: argparse.Namespace) -> Runs:
    """Run everything, the repeats outermost, so that a busy spell of the machine hits all alike."""
    runs: Runs = {(name, c.name): [] for name in names for c in chosen}
    with tempfile.TemporaryDirectory() as folder:
        arena = Arena(options.core, options.timeout, Path(folder) / "cache")
        for name in names:
            PROBLEMS[name]().save(Path(folder) / f"{name}.npz")
        for repeat in range(options.repeats):
            for name, contestant in [(n, c) for n in names for c in chosen]:
                done = runs[name, contestant.name]
                if any(run.failure for run in done):
                    continue
                budget = replace(_budget(contestant, name, options.smoke), seed=repeat + 1)
                run = arena.run(contestant, Path(folder) / f"{name}.npz", budget)
                done.append(run)
                print(f"{name}, {contestant.name}, seed {repeat + 1}: {_brief(run)}", flush=True)
    return runs


def _budget(contestant: Contestant, problem: str, smoke: bool) -> Budget:
    return SMOKE if smoke else contestant.budgets.get(problem, FULL)


def _brief(run: Run) -> str:
    if run.result is None:
        return run.failure
    result = run.result
    return f"{result.sampling.wall:.2f} s sampling, {result.compiling.wall:.1f} s compiling"


def rows(runs: Runs, chosen: list[Contestant], names: list[str], smoke: bool) -> list[Row]:
    """Score every run, and compare each contestant's means with the best-sampled one's."""
    return [row for name in names for row in _rows_of_one(runs, chosen, name, smoke)]


def _rows_of_one(runs: Runs, chosen: list[Contestant], name: str, smoke: bool) -> list[Row]:
    scored = []
    for contestant in chosen:
        budget = _budget(contestant, name, smoke)
        row = Row(name, contestant.name, f"{budget.chains} x ({budget.tune} + {budget.draws})")
        done = runs[name, contestant.name]
        failure = next((run.failure for run in done if run.failure), "")
        results = [run.result for run in done if run.result]
        scores = [] if failure else [score_draws(result) for result in results]
        scored.append((row, failure, results, scores))
    pools = [pooled(scores) for _, _, _, scores in scored if scores]
    best = max(pools, key=lambda pool: pool.min_ess, default=None)
    return [
        replace(row, failure=failure)
        if failure or best is None
        else _measured(row, results, scores, gap(pooled(scores), best))
        for row, failure, results, scores in scored
    ]


def _measured(row: Row, results: list[Result], scores: list[Score], distance: Gap) -> Row:
    both = list(zip(scores, results, strict=True))
    rates = [score.min_ess / result.sampling.wall for score, result in both]
    again = [result.compiling.wall for result in results[1:]]
    return replace(
        row,
        sampling_s=median(result.sampling.wall for result in results),
        compile_first_s=results[0].compiling.wall,
        compile_again_s=median(again) if again else None,
        min_ess=median(s.min_ess for s in scores),
        min_ess_per_s=median(rates),
        min_ess_per_cpu_s=median(score.min_ess / result.sampling.cpu for score, result in both),
        rates=rates,
        slowest=scores[0].slowest,
        max_rhat=max(s.max_rhat for s in scores),
        gap=distance.largest,
        disagrees=distance.disagrees,
        divergences=sum(result.divergences for result in results),
        core_share=median(result.sampling.cpu / result.sampling.wall for result in results),
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--smoke", action="store_true", help="a few steps, one seed, files elsewhere"
    )
    parser.add_argument("--repeats", type=int, default=5, help="seeds; the median is reported")
    parser.add_argument("--only", nargs="+", choices=[c.name for c in CONTESTANTS])
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--core", type=int, default=0, help="the core that all are pinned to")
    parser.add_argument("--timeout", type=float, default=1200.0, help="seconds a run may take")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    if options.smoke:
        options.repeats = 1
    return options


def main() -> None:
    """Run, score, print and write."""
    options = parse()
    chosen = [c for c in CONTESTANTS if options.only is None or c.name in options.only]
    runs = collect(chosen, options.problems, options)
    table = rows(runs, chosen, options.problems, options.smoke)
    if options.smoke:
        # Nothing has converged in so few draws.
        table = [replace(row, disagrees=False) for row in table]
    packages = ["numpy", "arviz", *(p for c in chosen for p in c.packages)]
    out = Path(tempfile.mkdtemp()) if options.smoke else options.out
    print(write(out, table, packages, options.repeats))
    print(f"written to {out}")
    for row in table:
        if row.disagrees:
            print(
                f"DISAGREEMENT: {row.contestant} on {row.problem}: {row.gap:.2f} sd from the best"
            )


if __name__ == "__main__":
    main()
