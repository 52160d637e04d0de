"""JAX: the meta-gradient written by hand, under vmap and jit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.meta.problem import OUTER_LR, Problem, numpy_parameters
from benchmarks.meta.serve import Step, serve


def _dense(w: Any, b: Any, x: Any) -> Any:
    return x @ w.T + b


def _network(p: list[Any], x: Any) -> Any:
    h = jax.nn.relu(_dense(p[0], p[1], x))
    h = jax.nn.relu(_dense(p[2], p[3], h))
    return _dense(p[4], p[5], h)


def _conv4(p: list[Any], x: Any) -> Any:
    h = x
    for k in range(4):
        w, b, scale, shift = (v if v.ndim > 1 else v[:, None, None] for v in p[4 * k : 4 * k + 4])
        h = jax.lax.conv_general_dilated(h, w, (2, 2), ((1, 1), (1, 1))) + b
        mean, var = h.mean((0, 2, 3), keepdims=True), h.var((0, 2, 3), keepdims=True)
        h = jax.nn.relu(scale * (h - mean) * jax.lax.rsqrt(var + 1e-5) + shift)
    return _dense(p[16], p[17], h.reshape(len(x), -1))


def make(problem: Problem) -> Step:
    """All tasks at once, compiled together with Adam."""
    network = _conv4 if problem.classes else _network

    def loss(p: list[Any], x: Any, y: Any) -> Any:
        output = network(p, x)
        if problem.classes:
            return -jnp.take_along_axis(jax.nn.log_softmax(output), y[:, None], 1).mean()
        return jnp.square(output[:, 0] - y).mean()

    def outer(p: list[Any], x: Any, y: Any, query_x: Any, query_y: Any) -> Any:
        for _ in range(problem.steps):
            slopes = jax.grad(loss)(p, x, y)
            p = [w - problem.lr * g for w, g in zip(p, slopes, strict=True)]
        return loss(p, query_x, query_y)

    data = [
        jnp.asarray(t.numpy()) for t in (problem.x, problem.y, problem.query_x, problem.query_y)
    ]

    def mean_loss(p: list[Any]) -> Any:
        return jax.vmap(outer, in_axes=(None, 0, 0, 0, 0))(p, *data).mean()

    @jax.jit
    def update(p: list[Any], m: list[Any], v: list[Any], t: Any) -> Any:
        value, slopes = jax.value_and_grad(mean_loss)(p)
        m = [0.9 * a + 0.1 * g for a, g in zip(m, slopes, strict=True)]
        v = [0.999 * a + 0.001 * g * g for a, g in zip(v, slopes, strict=True)]
        p = [
            w - OUTER_LR * (a / (1 - 0.9**t)) / (jnp.sqrt(b / (1 - 0.999**t)) + 1e-8)
            for w, a, b in zip(p, m, v, strict=True)
        ]
        return value, p, m, v

    start = [jnp.asarray(p) for p in numpy_parameters(problem.network())]
    state: list[Any] = [start, *([jnp.zeros_like(p) for p in start] for _ in range(2)), 0]

    def step() -> float:
        state[3] += 1
        value, *state[:3] = update(state[0], state[1], state[2], float(state[3]))
        return float(value)

    return step


if __name__ == "__main__":
    serve(make)
