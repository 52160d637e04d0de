"""What trains refuses settings of training that are of another kind, when it is made."""

from __future__ import annotations

import numpy as np
import pytest

import bayesmeta as bm


@pytest.mark.parametrize("strategy", [bm.Point, bm.Gaussian])
def test_settings_of_another_kind_are_refused(strategy: type) -> None:
    for size, error in ((0, ValueError), (2.5, TypeError)):
        with pytest.raises(error, match=rf"{strategy.__name__} got batch_size={size}; give a"):
            strategy(batch_size=size)
    with pytest.raises(TypeError, match=r"adam=\{'lr': 0\.1\}; give bm\.Adam\("):
        strategy(adam={"lr": 0.1})
    assert strategy(batch_size=np.int64(3)).batch_size == 3
