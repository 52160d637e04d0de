"""The lecture's graphical models, each drawn from a model that runs."""

from __future__ import annotations

import bayesmeta as bm
from bayesmeta.lecture.section import Section
from bayesmeta.models import lecture

TRAIN_TEST = {
    f"{name}_{half}": rf"{name}^{{\mathrm{{{above}}}}}_{{ij}}"
    for name in "xy"
    for half, above in (("support", "train"), ("query", "test"))
}


def section(smoke: bool = False) -> Section:
    """Four graphs, and what the last one says of its tasks."""
    tasks = lecture.tasks(num_tasks=5, num_data=6, slope=True)
    support, query = tasks.split(shots=3)
    meta = bm.graph(lecture.meta_learning, support, query)
    graphs = {
        "a_datapoint": bm.graph(lecture.datapoint, lecture.tasks(1, 1, slope=True)),
        "a_dataset": bm.graph(lecture.dataset, tasks[:1]),
        "datasets": bm.graph(lecture.datasets, tasks),
    }
    figures = {name: graph.draw() for name, graph in graphs.items()}
    figures["meta-learning"] = meta.draw(labels=TRAIN_TEST)
    return Section(
        "From a datapoint to meta-learning: four graphical models",
        f"""
        Grey is observed, white is latent, and a plate repeats what it holds. Nothing here is drawn
        by hand: each graph is read from a Pyro model as it runs, by following which values each
        density was computed from and by changing one value at a time to see what moves. The first
        two stand for supervised learning, the third for several datasets that have nothing to do
        with each other.

        In the fourth, tasks share a latent theta, and each has a phi of its own. Its test outcome
        is half grey: it is known in meta-training, and to be predicted at meta-test. The joint
        density is read off the plates:

        $ {meta.factorisation()} $

        What follows, the graph says in words. {meta.explain("phi[0]", "phi[1]")}.
        {meta.explain("phi[0]", "phi[1]", given=["theta"])}.

        And where theta is not known, a new task's test outcome still depends on other tasks' data:
        {meta.explain("y_support[0,0]", "y_query[1,0]")}. That is why learning from other tasks
        helps.
        """,
        figures=figures,
        code=[lecture],
    )
