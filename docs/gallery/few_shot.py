"""
Five characters never seen, one drawing of each
===============================================

Prototypical networks on Omniglot: an embedding is theta, the mean of each class is phi. Trained
here for some seconds; ``examples/omniglot.py`` trains to the end.
"""

import matplotlib.pyplot as plt

import bayesmeta as bm
from bayesmeta.models import omniglot, prototypes

characters = omniglot.classes(omniglot.Split.TRAIN)
episodes = characters.episodes(1000, ways=5, shots=1, queries=3)
pair = bm.ProtoNet(batch_size=8, adam=bm.Adam(lr=2e-3, steps=60, compile=False))
post = bm.fit(prototypes.model, episodes, **pair, progress=False)

# %%
# Characters of other alphabets: phi is inferred from the support, the query is predicted.

unseen = omniglot.classes(omniglot.Split.TEST).episodes(100, ways=5, shots=1, queries=5)
adapted = post.adapt(unseen)
chosen = adapted.predict(unseen.query).mean.argmax(-1)
print("right:", (chosen == unseen.query.y).double().mean().item())

# %%
# Are classes as probable as they are said to be? In the grey bars all is well.

figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
bm.calibration(adapted, unseen.query).draw(axes)
plt.show()
