"""The graphical model itself: the Bayes net, who is independent of whom, and its drawing.

- `latex`: names as LaTeX
- `vertices`: a node of the plate diagram: `Vertex`
- `diagram`: all nodes and arrows, and which plate is around which: `Diagram`
- `labels`: what stands in nodes and plates
- `factorisation`: the joint density as a product
- `boxes`: boxes and groups of boxes
- `layout`: where nodes and plates stand
- `routes`: the ways of the arrows
- `arrangement`: where all of it stands: `Picture`
- `saving`: a drawing as a file
- `draw`: the diagram by matplotlib
- `tikz`: the diagram for papers
- `roles`: what can be done with each site, and why not
- `arrows`: which copies an arrow joins
- `copies`: the nodes of the net without plates, and their names
- `unrolled`: that net, whole or as much of it as a question needs
- `blanket`: Markov blankets
- `separation`: d-separation: which paths carry dependence
- `graph`: all of that on one object: `Graph`
"""

from bayesmeta.graph.graph import Graph, graph

__all__ = ["Graph", "graph"]
