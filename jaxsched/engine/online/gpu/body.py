"""The body of the kernel: a program serves one stream, by the rules of the quick kernel.

It runs :mod:`jaxsched.engine.online.quick` itself, on scalars where others have ``[B]``, so that
there is one text of the rules. What differs is where things are, see
:mod:`jaxsched.engine.online.lanes`:

* what is known of the stream as a whole, in registers, alike in all lanes of the warp;
* what the pass over the seats looks at, in registers too, a slot or more a lane. There are as many
  as requests may run at once, so that they cannot overflow;
* requests, their records, the queue and the histogram, in memory, one row of which is loaded or
  stored at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from jaxsched.engine.online import quick, together
from jaxsched.engine.online.lanes import Memory, take
from jaxsched.engine.online.queue import Waiting
from jaxsched.engine.online.seats import NEVER, Seats
from jaxsched.engine.online.state import Choices, Kernel, Limits, Records, Streams, Totals

T = TypeVar("T")


class Ranks(NamedTuple):
    """Of a queue by rank, as in :class:`~jaxsched.engine.online.queue.Waiting`."""

    rank: Any
    ranked: Any
    arrivals: Any


class Given(NamedTuple):
    """What a program reads: references to rows of its stream, or to a number of it."""

    streams: Streams
    ranks: Ranks | None
    limits: Limits
    until: Any


class Kept(NamedTuple):
    """What a program reads and writes: references to rows of its stream."""

    order: Any
    levels: tuple[Any, ...]
    records: Records
    histogram: Any


class Scratch(NamedTuple):
    """What a program writes before it reads it, of its seats, ``[slots + 1]`` each."""

    request: Any
    admission: Any
    tier: Any


def serve_stream(
    choices: Choices,
    given: Given,
    edges: Any,
    kept: Kept,
    scratch: Scratch,
    results: Totals,
    fence: Callable[[], None],
) -> None:
    """Serve one stream to its end.

    Args:
      choices: what is compiled in.
      given: what to serve.
      edges: reference to the edges of the histogram.
      kept: as before the first step.
      scratch: as it may be.
      results: written; references to numbers, no histogram among them.
      fence: see :class:`~jaxsched.engine.online.lanes.Memory`.
    """

    def in_memory(refs: T) -> T:
        return jax.tree.map(lambda ref: Memory(ref, fence), refs)

    streams, ranks = in_memory(given.streams), in_memory(given.ranks)
    limits, until = jax.tree.map(lambda ref: ref[()], (given.limits, given.until))
    limits = limits._replace(is_chunked=limits.is_chunked > 0)
    order, levels, records, histogram = in_memory(kept)
    waiting = None
    if ranks is not None:
        nobody_yet = jnp.int32(0)
        first = take(streams.arrival, take(ranks.arrivals, nobody_yet))
        waiting = Waiting(*ranks, levels, nobody_yet, first)
    never = jnp.full(choices.slots, NEVER, jnp.int32)
    seats = Seats(*in_memory(scratch), never, never, jnp.zeros(choices.slots, jnp.float64))

    kernel = Kernel(streams, limits, choices, "store", in_memory(edges), None)
    state = together.begun(streams, order, waiting, limits, seats, records, histogram)
    state = quick.with_open_records(kernel, quick.advance(kernel, state, until))

    totals = state.totals._replace(busy=state.totals.busy + (state.now - state.origin))
    for ref, value in zip(results, totals._replace(histogram=None), strict=True):
        if ref is not None:
            ref[()] = value
