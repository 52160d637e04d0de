"""The graphical model itself: what can be done with each site, and who is independent of whom.

- `roles`: what can be done with each site, and why not
- `copies`: the nodes of the net without plates, and their names
- `unrolled`: that net, whole or as much of it as a question needs
- `blanket`: Markov blankets
- `separation`: d-separation: which paths carry dependence
- `graph`: all of that, and its drawing, on one object: `Graph`
"""

from bayesmeta.graph.graph import Graph, graph

__all__ = ["Graph", "graph"]
