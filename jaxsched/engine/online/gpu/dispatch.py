"""When the kernel serves streams, and with how many slots."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsched.engine.gpu.operation import Compiler, operation
from jaxsched.engine.online.arrivals import Checked
from jaxsched.engine.online.in_step import is_quick, wide
from jaxsched.engine.online.intervals import NUM_BUCKETS
from jaxsched.engine.online.state import (
    Choices,
    Limits,
    Records,
    Totals,
    no_counts,
    no_records,
    no_totals,
)

# 512 slots take nearly all the registers that a thread may have. Fewer than 64 save none, and
# NVIDIA's assembler then spills some.
_LEAST_SLOTS, _MOST_SLOTS = 64, 512


def one_program_a_stream(
    choices: Choices, given: Checked, limits: Limits, until: jax.Array
) -> tuple[Records, Totals]:
    """Serve by the kernel where there is one: on an NVIDIA GPU; else all streams in step."""
    if slots_for(given.is_served.shape[1], choices) is None:
        return wide(choices, given, limits, until)
    return _serve(choices, given, limits, until)


def slots_for(n: int, choices: Choices) -> int | None:
    """Choose slots for streams of ``n`` requests; None if the kernel does not serve them."""
    num_slots = min(choices.slots, max(_LEAST_SLOTS, 1 << (n - 1).bit_length()))
    return num_slots if is_quick(choices) and num_slots <= _MOST_SLOTS else None


def by_kernel(
    compiler: Compiler, choices: Choices, given: Checked, limits: Limits, until: jax.Array
) -> tuple[Records, Totals]:
    """Serve by the kernel; by Mosaic GPU, which takes no float64, in step.

    Args:
      compiler: see :func:`jaxsched.engine.online.gpu.kernel.serve`.
      choices: what is compiled in, with any number of slots.
      given: requests ``[B, n]``.
      limits: of the servers ``[B]``.
      until: float64 ``[B]`` seconds.

    Returns:
      Records ``[B, n]`` and totals ``[B]``, ``busy`` up to the end.
    """
    if compiler == "mosaic_gpu":
        return _in_step(choices, given, limits, until)
    from jaxsched.engine.online.gpu import kernel

    num_slots = slots_for(given.is_served.shape[1], choices)
    assert num_slots is not None
    with jax.enable_x64(True):  # which the caller may have left by the time that this is lowered
        choices = choices._replace(slots=num_slots)
        return kernel.serve(choices, compiler, given, limits, until)


def _in_step(choices: Choices, *given: Any) -> tuple[Records, Totals]:
    with jax.enable_x64(True):
        return wide(choices, *given)


def _results(choices: Choices, given: Checked, *numbers: Any) -> tuple[Records, Totals]:
    del numbers
    num_streams, n = given.is_served.shape

    def empty() -> tuple[Records, Totals]:
        counts = no_counts(NUM_BUCKETS if choices.has_histogram else None, num_streams)
        if counts is not None:
            counts = counts.reshape(num_streams, -1)
        return (
            no_records(jnp.zeros((num_streams, n), jnp.int32)),
            no_totals(jnp.zeros(num_streams, jnp.int32), counts),
        )

    with jax.enable_x64(True):
        return jax.eval_shape(empty)


_serve = operation("serve_streams", _in_step, by_kernel, _results)
