"""The graphical model itself: the Bayes net, who is independent of whom, and its drawing.

- `latex`: names as symbols
- `vertices`: the nodes of the plate diagram
- `diagram`: its nodes and arrows
- `factorisation`: the joint density as a product
- `boxes`: boxes and groups of them
- `layout`: where nodes and plates stand
- `routes`: the ways of the arrows
- `draw`: the diagram by matplotlib
- `tikz`: the diagram for papers
- `roles`: what can be done with each site
- `unrolled`: the net without plates
- `separation`: d-separation
- `graph`: all of that on one object
"""

from bayesmeta.graph.graph import Graph, graph

__all__ = ["Graph", "graph"]
