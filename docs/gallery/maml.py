"""
MAML, and what a point does not know
====================================

Sine waves by a network each: five gradient steps from theta, a point of phi. The same theta with
Laplace's posterior over phi knows where it has not looked. Trained here for some seconds, which is
not to the end; ``examples/maml_sinusoids.py`` goes on to there.
"""

import matplotlib.pyplot as plt

import bayesmeta as bm
from bayesmeta.models import sinusoid

model = sinusoid.sinusoid(sigma=0.3, tau=0.1)
support, query = sinusoid.tasks(2000, 20, noise=0.3).split(10)
training = bm.Adam(lr=1e-3, steps=1000, compile=False)
pair = bm.MAML(5, 0.01 * 2 * 0.3**2 / 10, batch_size=25, adam=training)
post = bm.fit(model, support, query=query, **pair, progress=False)
print(post)

# %%
# One wave never seen, and its 90% band:

seen, rest = sinusoid.tasks(1, 65, seed=3, noise=0.3).split(5)
figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
ways = {"MAML": None, "then Laplace": bm.Laplace(curvature=bm.GaussNewton())}
for axes, (name, phi) in zip(panels, ways.items(), strict=True):
    prediction = post.adapt(seen, phi=phi).predict(rest, repeats=500 if phi is None else 1)
    order = rest.x["x"].flatten().argsort()
    x = rest.x["x"].flatten()[order]
    low, high = (prediction.quantile(q).flatten()[order] for q in (0.05, 0.95))
    axes.fill_between(x, low, high, alpha=0.3)
    axes.plot(x, prediction.mean.flatten()[order])
    axes.plot(seen.x["x"].flatten(), seen.y.flatten(), "k.")
    axes.set_title(name)
plt.show()
