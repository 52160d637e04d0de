"""The Bayes net of every model against an edge list written by hand, and what follows from it."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.transforms import AffineTransform
from pyro.infer.reparam import TransformReparam

import bayesmeta as bm
from bayesmeta.models import (
    attentive_process,
    eight_schools,
    lecture,
    lynx_hare,
    neural_process,
)
from tests.cases import EVERY

SUPPORT, QUERY = lecture.tasks(num_data=6, slope=True).split(2)
META = bm.graph(lecture.meta_learning, SUPPORT, QUERY)


def edges(text: str) -> set[tuple[str, str]]:
    """ "a b -> c; c -> d" as pairs."""
    found = set()
    for part in filter(str.strip, text.split(";")):
        parents, child = part.split("->")
        found |= {(parent, child.strip()) for parent in parents.split()}
    return found


def halves(text: str) -> str:
    """The arrows of what is in "data", of both halves."""
    return ";".join(text.replace("*", half) for half in ("_support", "_query"))


NETWORK_EDGES = {
    "classifier": "theta -> phi;" + halves("phi image* -> y*"),
    "anil": "start -> head;" + halves("theta head image* -> y*"),
    "prototypes": halves("theta prototype image* -> y*; theta prototype image* -> embedding*"),
    "ridge": halves("theta gain level sigma weights image* -> y*"),
}
EDGES = {
    **NETWORK_EDGES,
    "eight_schools": "mu tau -> effect; effect sigma -> y",
    "normal_means": "mu -> phi; phi -> y",
    "linear": "mu tau -> w; w sigma features -> y",
    "logistic": "mu tau -> w; w features -> y",
    "radon_ragged": (
        "gamma0 gamma1 tau_alpha log_uranium -> alpha; delta0 delta1 tau_beta log_uranium -> beta;"
        "alpha beta sigma floor -> y"
    ),
    "contextual_ragged": (
        "county_effect_mean county_effect_scale -> county_effect;"
        "county_effect weight log_radon_scale log_uranium floor floor_by_county -> y"
    ),
    "sinusoid": "theta -> phi; phi x -> y",
    "last_layer": "mean scale -> w; theta w sigma x -> y",
    "rich": (
        "scale -> width; scale -> gentle; chol -> pair; mix -> share; scale -> bend;"
        "width -> within; within -> soft; pair share bend within -> mean;"
        "level pair share bend within -> y"
    ),
}


OTHERS = {
    "neural_process": (neural_process, "theta units z x* -> y*"),
    "attentive_process": (attentive_process, "theta units z x* -> y*"),
    "lynx_hare": (lynx_hare, "alpha beta gamma delta z0 sigma year lynx -> y"),
}


@pytest.mark.parametrize("name", EDGES)
def test_the_graph_of_every_model_is_the_one_written_by_hand(name: str) -> None:
    model, tasks, _ = EVERY[name]
    assert bm.graph(model, tasks).edges == edges(EDGES[name])


@pytest.mark.parametrize("name", OTHERS)
def test_the_graph_of_every_other_model_is_the_one_written_by_hand(name: str) -> None:
    module, text = OTHERS[name]
    expected = edges(halves(text) if "*" in text else text)
    assert bm.graph(module.model, module.tasks()).edges == expected


def plates(graph: bm.Graph) -> dict[str, set[str]]:
    """The nodes that each plate holds."""
    names = {p for v in graph.nodes.values() for p in v.plates}
    return {p: {v.name for v in graph.nodes.values() if p in v.plates} for p in names}


LECTURE = {
    "datapoint": (lecture.datapoint, lecture.tasks(1, 1, slope=True), {}),
    "dataset": (lecture.dataset, SUPPORT[:1], {"data": {"x", "y"}}),
    "datasets": (lecture.datasets, SUPPORT, {"tasks": {"x", "y"}, "data": {"x", "y"}}),
}


@pytest.mark.parametrize("name", LECTURE)
def test_the_lectures_graphs_of_data(name: str) -> None:
    model, tasks, inside = LECTURE[name]
    graph = bm.graph(model, tasks)
    assert graph.edges == {("x", "y")}
    assert graph.observed == {"x", "y"}
    assert plates(graph) == inside


def test_the_lectures_graph_of_meta_learning() -> None:
    data = {"x_support", "y_support", "x_query", "y_query"}
    assert META.edges == edges("theta -> phi;" + halves("phi x* -> y*"))
    assert plates(META) == {"tasks": data | {"phi"}, "data": data}
    assert META.observed == data
    assert {v.name for v in META.nodes.values() if v.is_predicted} == {"y_query"}


def test_a_swapped_plate_is_found() -> None:
    def swapped(tasks: bm.Tasks) -> None:
        """phi outside the plate of tasks: one for all of them."""
        theta = pyro.sample("theta", dist.Normal(0.0, 2.0))
        phi = pyro.sample("phi", dist.Normal(theta, 0.5))
        with (
            pyro.plate("tasks", tasks.num_tasks, dim=-2),
            pyro.plate("data", tasks.num_data, dim=-1),
        ):
            pyro.sample("y", dist.Normal(phi * tasks.x["x"], 1.0), obs=tasks.y)

    graph = bm.graph(swapped, SUPPORT, QUERY)
    assert graph.edges == META.edges
    assert plates(graph) != plates(META)
    assert graph.independent("y_support[0,0]", "y_support[1,0]", given=["phi"])
    with pytest.raises(ValueError, match="'phi' is in no plate"):
        graph.independent("y_support[0,0]", "y_support[1,0]", given=["phi[0]"])


def test_plates_with_dims_swapped_are_refused() -> None:
    def model(tasks: bm.Tasks) -> None:
        with (
            pyro.plate("tasks", tasks.num_tasks, dim=-1),
            pyro.plate("data", tasks.num_data, dim=-2),
        ):
            pyro.sample("y", dist.Normal(tasks.x["x"].T, 1.0), obs=tasks.y.T)

    with pytest.raises(bm.StructureError, match="dim=-2"):
        bm.graph(model, SUPPORT)


def test_unrolled_the_lectures_graph_has_these_nodes_and_arrows() -> None:
    net = META.unroll(tasks=2, data=1)
    assert set(net.edges) == {
        ("theta", "phi[0]"),
        ("theta", "phi[1]"),
        *((f"phi[{i}]", f"y_{half}[{i},0]") for i in (0, 1) for half in ("support", "query")),
        *(
            (f"x_{half}[{i},0]", f"y_{half}[{i},0]")
            for i in (0, 1)
            for half in ("support", "query")
        ),
    }
    assert net.nodes["phi[1]"] == {"vertex": "phi"}
    assert len(META.unroll()) == 1 + 3 + 4 * 3 * 2
    with pytest.raises(ValueError, match=r"tasks=0.*at least 1"):
        META.unroll(tasks=0)


@pytest.mark.parametrize(
    "graph",
    [META, *(bm.graph(model, tasks) for model, tasks, _ in LECTURE.values())],
    ids=["meta_learning", *LECTURE],
)
def test_independence_equals_networkx_on_all_triples(graph: bm.Graph) -> None:
    net = graph.unroll(tasks=2, data=1)
    for a, b in combinations(net.nodes, 2):
        for c in [None, *net.nodes]:
            if c not in (a, b):
                given = {c} - {None}
                assert graph.independent(a, b, given) == nx.is_d_separator(net, a, b, given)


def test_independence_equals_zero_partial_correlations() -> None:
    """With effects of any size the unrolled net is a linear-Gaussian model: x is a parent too."""
    net = META.unroll(tasks=2, data=1)
    names = list(net.nodes)
    rng = np.random.default_rng(0)
    weights = nx.to_numpy_array(net, nodelist=names).T * rng.uniform(0.5, 2.0, (len(names),) * 2)
    mixing = np.linalg.inv(np.eye(len(names)) - weights)
    covariance = mixing @ mixing.T
    count = {True: 0, False: 0}
    for a, b in combinations(range(len(names)), 2):
        for c in range(len(names)):
            if c in (a, b):
                continue
            precision = np.linalg.inv(covariance[np.ix_([a, b, c], [a, b, c])])
            partial = -precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
            independent = META.independent(names[a], names[b], [names[c]])
            count[independent] += 1
            assert independent == (abs(partial) < 1e-10)
    assert min(count.values()) > 20


SCHOOLS = bm.graph(eight_schools.model, eight_schools.tasks())


def test_the_designs_questions() -> None:
    assert not SCHOOLS.independent("effect[1]", "effect[2]")
    assert not SCHOOLS.independent("effect[1]", "effect[2]", given="mu")
    assert SCHOOLS.independent("effect[1]", "effect[2]", given=["mu", "tau"])
    assert not SCHOOLS.independent("effect[0]", "mu", given=["y[0,0]"])
    assert SCHOOLS.independent("mu", "tau")
    assert not SCHOOLS.independent("mu", "tau", given=["y[5,0]"])


def test_explanations() -> None:
    said = SCHOOLS.explain("effect[1]", "effect[2]", given=["tau"])
    assert said == (
        "effect[1] and effect[2] are dependent given tau: the path effect[1] <- mu -> effect[2] is "
        "active (mu, a common cause, is not given)"
    )
    said = SCHOOLS.explain("mu", "tau").splitlines()
    assert said == [
        "mu and tau are independent; every path is blocked:",
        "  mu -> effect[0] <- tau (effect[0], a common effect, is not given, nor is anything below "
        "it)",
    ]
    assert "one reads the other" in SCHOOLS.explain("mu", "effect[0]")
    assert "no path joins them" in bm.graph(lecture.datasets, SUPPORT).explain("y[0,0]", "y[1,0]")
    deep = SCHOOLS.explain("effect[0]", "effect[6]", given=["mu", "tau"])
    assert "effect[1]" in deep and "effect[2]" not in deep, "one of those alike stands for all"


def test_markov_blankets() -> None:
    assert SCHOOLS.markov_blanket("effect[3]") == ("sigma[3,:]", "mu", "tau", "y[3,:]")
    assert SCHOOLS.markov_blanket("mu") == ("tau", "effect[:]")
    assert META.markov_blanket("y_query[1,4]") == ("x_query[1,4]", "phi[1]")
    assert META.markov_blanket("theta") == ("phi[:]",)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("effect", r"'effect' has 0 indices.*in tasks; write it as 'effect\[0\]'"),
        ("mu[0]", "'mu' is in no plate that is unrolled; write it as 'mu'"),
        ("nu", "there is no node 'nu'; the nodes are sigma, mu, tau, effect, y"),
        ("effect[a]", "there is no node"),
        ("tau", "overlap"),
    ],
)
def test_a_node_that_is_not_there_is_refused(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SCHOOLS.independent(name, "tau", given=["y[0,0]"])


ONE_COLUMN = bm.Tasks.from_arrays(torch.randn(3, 2, dtype=torch.float64))


def shifted(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        moved = dist.TransformedDistribution(dist.Normal(0.0, 1.0), AffineTransform(mu, tau))
        phi = pyro.sample("phi", moved)
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def test_a_reparameterised_site_is_a_function_of_what_is_drawn() -> None:
    model = pyro.poutine.reparam(shifted, config={"phi": TransformReparam()})
    graph = bm.graph(model, ONE_COLUMN)
    assert graph.edges == edges("mu tau phi_base -> phi; phi -> y")
    # phi follows from its parents, so that they block as phi does.
    for given in (["phi[0]"], ["mu", "tau", "phi_base[0]"]):
        assert graph.independent("y[0,0]", "y[0,1]", given)
    assert not graph.independent("y[0,0]", "y[0,1]", given=["mu", "tau"])
    said = graph.explain("phi[0]", "y[0,0]", given=["mu", "tau", "phi_base[0]"])
    assert said.endswith("phi[0] follows from what is given")
    assert graph.factorisation().endswith(
        r"\quad\text{where } \phi_{i} = f(\mu, \tau, \phi_{\mathrm{base},i})"
    )


def test_a_module_is_one_node_and_a_parameter() -> None:
    net = torch.nn.Linear(1, 1).double()

    def model(tasks: bm.Tasks) -> None:
        pyro.module("net", net)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            mean = torch.vmap(lambda z: net(z[..., None])[..., 0])(phi)
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)

    graph = bm.graph(model, ONE_COLUMN)
    assert graph.edges == edges("net phi -> y")
    assert graph.nodes["net"].is_parameter and not graph.nodes["phi"].is_parameter


def test_factors_are_always_given() -> None:
    def tied(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            one, other = (pyro.sample(n, dist.Normal(0.0, 1.0)) for n in ("one", "other"))
            pyro.factor("tie", -((one - other) ** 2))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(one, 1.0), obs=tasks.y)

    graph = bm.graph(tied, ONE_COLUMN)
    assert not graph.independent("one[0]", "other[0]")
    assert graph.independent("one[0]", "other[1]")
    assert "tie[0] is a factor, which always counts as given" in graph.explain("one[0]", "other[0]")
    assert graph.factorisation().startswith(r"\propto ")


def test_an_input_that_is_not_given_is_pointed_at() -> None:
    model, tasks, _ = EVERY["radon_ragged"]
    graph = bm.graph(model, tasks)
    known = ["gamma0", "gamma1", "tau_alpha", "delta0", "delta1", "tau_beta"]
    said = graph.explain("alpha[0]", "beta[0]", given=known)
    assert said.endswith("log_uranium[0] is an input: where it is known, add it to given")
    assert graph.independent("alpha[0]", "beta[0]", given=[*known, "log_uranium[0]"])


@pytest.mark.parametrize("name", ["y_support", "phi[0]"])
def test_names_that_the_graph_makes_itself_are_refused(name: str) -> None:
    def model(tasks: bm.Tasks) -> None:
        theta = pyro.sample(name, dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    with pytest.raises(bm.StructureError, match="rename"):
        bm.graph(model, SUPPORT, QUERY)


def test_what_is_no_query_or_no_node_is_refused() -> None:
    with pytest.raises(TypeError, match="query is a str"):
        bm.graph(lecture.meta_learning, SUPPORT, "query")
    with pytest.raises(TypeError, match="named by a string"):
        META.independent(0, "theta")


def test_printed_it_shows_arrows_and_plates() -> None:
    assert str(SCHOOLS).splitlines() == [
        "sigma   [tasks, data]",
        "mu",
        "tau",
        "mu, tau -> effect   [tasks]",
        "sigma, effect -> y   [tasks, data]",
    ]


def test_a_task_level_node_reads_the_support() -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(tasks.x["x"].mean(1, keepdim=True), 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                z = pyro.sample("z", dist.Normal(phi + tasks.x["x"], 1.0))
                pyro.sample("y", dist.Normal(z, 1.0), obs=tasks.y)
            pyro.deterministic("middle", z.mean(1, keepdim=True))

    tasks = bm.Tasks.from_arrays(torch.randn(3, 4), {"x": torch.randn(3, 4)})
    graph = bm.graph(model, tasks, tasks)
    assert graph.nodes["phi"].parents == ("x_support",)
    assert graph.nodes["middle"].parents == ("z_support",)
    assert graph.independent("middle[0]", "z_query[0,0]", ["z_support[0,:]"])
    assert not graph.independent("middle[0]", "z_query[0,0]")


def test_all_that_there_are_can_be_given() -> None:
    assert SCHOOLS.independent("mu", "y[0,0]", given="effect[:]")
    assert not SCHOOLS.independent("mu", "y[0,0]", given="effect[1]")
    with pytest.raises(ValueError, match="stands for many nodes; name one of them here, such as"):
        SCHOOLS.independent("mu", "effect[:]")
    with pytest.raises(TypeError, match="given=None was given"):
        SCHOOLS.independent("mu", "tau", given=None)


def test_all_are_those_of_the_data_and_not_those_to_come() -> None:
    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    graph = bm.graph(model, bm.Tasks.from_list([[1.0, 2.0], [3.0, 2.0, 3.0, 4.0], [5.0]]))
    assert graph.independent("y[0,0]", "mu", "phi[:]")
    assert not graph.independent("y[9,0]", "mu", "phi[:]")
    assert not graph.independent("phi[9]", "mu", "phi[:]")
    assert not graph.independent("y[0,3]", "phi[0]", "y[0,:]"), "the third row is to come"


def test_a_factor_is_no_variable() -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            pyro.factor("tie", -(phi**2))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    graph = bm.graph(model, bm.Tasks.from_arrays(torch.zeros(2, 2)))
    with pytest.raises(ValueError, match=r"tie\[0\] is a factor, a term of the density"):
        graph.independent("tie[0]", "phi[1]")
