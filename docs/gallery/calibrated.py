"""
Is a pair calibrated?
=====================

Studies are drawn from the model, fitted, and the truth is looked for among the draws: where all is
well its place is uniform. Here normal means are fitted by weighted draws of theta, with phi in
closed form.
"""

import bayesmeta as bm
from bayesmeta.models import normal_means

tasks = normal_means.tasks()
pair = {"theta": bm.Importance(draws=200, rounds=1), "phi": bm.Exact(draws=99)}
found = bm.sbc(normal_means.model, tasks, **pair, simulations=60, progress=False)
print(found)

# %%
# ECDFs of the places, less what is uniform, within the band where all is well:

figure = found.draw()

# %%
# A point estimate has no width, and its row of theta says so.

point = bm.sbc(
    normal_means.model, tasks, theta=bm.Point(), phi=bm.Exact(), simulations=20, progress=False
)
print(point)
