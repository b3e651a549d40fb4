"""Samples of the rows of a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxsched._lib.errors import InputError, integer

#: Chooses rows, given a generator, how many there are and how many to take.
Draw = Callable[[np.random.Generator, int, int], np.ndarray]

_MOST_ROWS = 2**28  # of all samples together, as on the command line


def anywhere(generator: np.random.Generator, num_rows: int, num_requests: int) -> np.ndarray:
    """Take distinct rows, each as likely as any other, in file order."""
    return np.sort(generator.choice(num_rows, num_requests, replace=False, shuffle=False))


def in_a_row(generator: np.random.Generator, num_rows: int, num_requests: int) -> np.ndarray:
    """Take rows that follow each other, from a random one on."""
    return generator.integers(num_rows - num_requests + 1) + np.arange(num_requests)


def require_sample(num_requests: Any, batch: Any, key: Any, is_keyed: bool) -> None:
    """Raise before a file is read if a sample cannot be drawn.

    Args:
      num_requests: rows of a sample, or None for all.
      batch: samples, or None.
      key: a jax random key, or None.
      is_keyed: whether the key is for something else as well.
    """
    if num_requests is None or key is None:
        if num_requests is None and batch is None and (key is None or is_keyed):
            return
        raise ValueError(
            "a sample needs both num_requests and key (and batch for several); without them all "
            "rows are taken"
        )
    integer("num_requests", num_requests)
    if batch is not None:
        integer("batch", batch)
        if num_requests * batch > _MOST_ROWS:
            raise InputError(
                "batch",
                batch,
                f"expected at most {_MOST_ROWS // num_requests} of {num_requests} requests each, "
                "for the sake of memory",
            )


def sampled(
    path: object,
    num_rows: int,
    num_requests: int | None,
    batch: int | None,
    key: jax.Array | None,
    draw: Draw,
) -> np.ndarray:
    """Which of ``num_rows`` each sample holds, ``[n]`` or ``[B, n]``, ascending."""
    if num_requests is None or key is None:
        return np.arange(num_rows)
    if num_requests > num_rows:
        raise InputError(
            "num_requests",
            num_requests,
            f"expected 1 to {num_rows}, the rows of {path} that can run",
        )
    # On the host, where the rows are: a permutation of the trace for each sample would be far
    # more work than a small sample.
    generator = generator_of(key)
    samples = [draw(generator, num_rows, num_requests) for _ in range(batch or 1)]
    return samples[0] if batch is None else np.stack(samples)


def generator_of(key: jax.Array, *purpose: int) -> np.random.Generator:
    """Make a generator of a key; another for each purpose."""
    return np.random.default_rng([*np.asarray(jax.random.key_data(key)).ravel(), *purpose])
