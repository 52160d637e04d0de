"""
Who is independent of whom?
===========================

The graph of a model is read from the code that runs, and answers questions about independence.
Nothing is fitted here.
"""

import bayesmeta as bm
from bayesmeta.models import eight_schools

schools = eight_schools.tasks()
graph = bm.graph(eight_schools.model, schools)
print(graph)

# %%
# The plate diagram, grey where something is observed; ``graph.draw("schools.svg")`` writes it.

figure = graph.draw()

# %%
# Effects of two schools are dependent, as both come from the same population ...

print(graph.explain("effect[0]", "effect[1]"))

# %%
# ... and independent once that is known: all that one school tells of another goes through theta.

print(graph.explain("effect[0]", "effect[1]", given=["mu", "tau"]))
