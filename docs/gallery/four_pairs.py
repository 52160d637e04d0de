"""
One model, four pairs
=====================

Eight schools under NUTS and three cheaper pairs of strategies, with what each costs: ``bm.price``
fits all and measures how far draws are from those of NUTS.
"""

import matplotlib.pyplot as plt

import bayesmeta as bm
from bayesmeta.models import eight_schools

schools = eight_schools.tasks()
pairs = {
    "Importance + Exact": (bm.Importance(), bm.Exact()),
    "Gaussian + Joint": (bm.Gaussian(), bm.Joint()),
    "Point + Exact": (bm.Point(), bm.Exact()),
}
reference = (bm.NUTS(compile=False, chains=2, tune=500, draws=500), bm.Joint())
found = bm.price(eight_schools.model, schools, pairs, reference=reference, progress=False)
print(found)

# %%
# Distance against seconds:

figure = found.draw()

# %%
# The best single tau is nearly 0, which says that all schools are alike; whoever keeps the width of
# tau says otherwise.

effects, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for k, (name, (theta, phi)) in enumerate(pairs.items()):
    post = bm.fit(eight_schools.model, schools, theta=theta, phi=phi, progress=False)
    effect = post.phi["effect"].flatten(0, 1)
    place = [school + (k - 1) * 0.15 for school in range(effect.shape[-1])]
    axes.errorbar(place, effect.mean(0), yerr=effect.std(0), fmt="o", label=name)
axes.set_xticks(range(8), schools.names)
axes.set_ylabel("effect of coaching")
axes.legend(frameon=False)
plt.show()
