"""Which of the instances or streams a step learns from."""

from __future__ import annotations

from typing import Any

import jax

from jaxsched.tuning.traffic import some_of


class Minibatches:
    """Which instances and which key belong to a step: a function of its number alone."""

    def __init__(self, train: Any, size: int | None, order_key: jax.Array, step_key: jax.Array):
        self._train = train
        self._total = train.prompt_tokens.shape[0]
        self._size = size
        self._order_key, self._step_key = order_key, step_key

    def at(self, step: int) -> tuple[Any, jax.Array]:
        key = jax.random.fold_in(self._step_key, step)
        if self._size is None:
            return self._train, key
        epoch, place = divmod(step, self._total // self._size)
        order = jax.random.permutation(jax.random.fold_in(self._order_key, epoch), self._total)
        rows = order[place * self._size : (place + 1) * self._size]
        return some_of(self._train, rows), key
