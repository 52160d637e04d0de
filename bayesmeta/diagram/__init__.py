"""The plate diagram of a model: its nodes and arrows, in LaTeX, and drawn.

- `latex`: names as LaTeX
- `vertices`: a node: `Vertex`
- `arrows`: which copies an arrow joins
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
"""
