"""What the engine asks for and promises, written once: words, kernels, what a rule sees."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxsched._lib.pytree import pytree
from jaxsched.model.instance import Instance
from jaxsched.model.server import Discipline, Preemption, Victim

__all__ = [
    "Admission",
    "Discipline",
    "DynamicRule",
    "Events",
    "Kernel",
    "Observation",
    "Placement",
    "Preemption",
    "Queues",
    "Rule",
    "Victim",
]

#: What a request of a backlog counts as holding when it is placed; a server has more kinds.
Admission = Literal["look_ahead", "peak"]


class Queues(NamedTuple):
    """Requests in serving order, an instance a column, for kernels.

    Attributes:
      prompt: int32 ``[n, B]`` tokens; 0 for padding, wherever it stands.
      output: int32 ``[n, B]``, likewise.
      kv_capacity: int32 ``[B]``.
      max_num_seqs: int32 ``[B]``, or None for no cap.
    """

    prompt: jax.Array
    output: jax.Array
    kv_capacity: jax.Array
    max_num_seqs: jax.Array | None


class Kernel(Protocol):
    """A way to run a placement on some kind of device; all ways give the same, to the round.

    There are those that XLA compiles operation by operation, with many instances in step, those
    that are one function on a CPU, a group of instances in step, and those that are one kernel on
    a GPU, each instance by itself. They run inside ``jit``.
    """

    def __call__(self, placement: Placement, admission: Admission, queues: Queues, /) -> jax.Array:
        """Return start rounds int32 ``[n, B]`` in serving order; meaningless for padding."""
        ...


class Placement(Protocol):
    """A discipline as arithmetic: the modules ``engine.offline.strict`` and ``earliest_fit``.

    The state of all instances is an array of slots, ``[slots, fields, B]``, worked on in blocks
    of ``rows`` slots. ``start_rounds`` is made of ``lax`` operations alone, none of which XLA
    would hand to threads, so that a kernel may compile it as one function.
    """

    def empty_slots(self, shape: tuple[int, int], rows: int) -> jax.Array:
        """Make the slots of ``shape = [n, B]`` requests of which none is placed."""
        ...

    def start_rounds(
        self,
        queues: Queues,
        slots: jax.Array,
        start: jax.Array,
        *,
        admission: Admission,
        rows: int,
    ) -> jax.Array:
        """Place every request.

        Args:
          queues: the requests.
          slots: those of :meth:`empty_slots`.
          start: int32 ``[n, B]``, overwritten.
          admission: what a request counts as holding, see :func:`jaxsched.simulate`.
          rows: slots in a block.

        Returns:
          Start rounds int32 ``[n, B]`` in serving order; meaningless for padding.
        """
        ...


@pytree
class Observation:
    r"""What a rule may know of the requests at a server.

    Output lengths are the predictions that requests come with. Where they come with none, a rule
    sees the true lengths.

    The fields that an :class:`~jaxsched.Instance` has too mean the same here, so that a rule
    written for one instance also orders a queue.

    Attributes:
      prompt_tokens: int32 ``[n]``.
      output_tokens: int32 ``[n]``, the **predicted** ones; the true ones of requests that come
        without predictions.
      is_real: bool ``[n]``; False marks rows that hold no request, with 1 token each way.
      kv_capacity: int32 ``[]`` tokens.
      arrival_s: float32 ``[n]``, when the request reached the server, in seconds since the stream's
        first arrival.
      priority: float32 ``[n]``, the request's own, lower first.
      client: int32 ``[n]``, who sent it, numbered from 0; 0 where requests name nobody.
      ttft_slo_s: float32 ``[n]``, target for the time to first token; infinite for none.
      tpot_slo_s: float32 ``[n]``, target for the time per output token; infinite for none.
      now_s: float32 ``[]``, when the step begins, since the stream's first arrival.
      waited_s: float32 ``[n]``, how long ago the request arrived.
      generated_tokens: int32 ``[n]``, output tokens so far.
      computed_tokens: int32 ``[n]``, tokens whose KV is in the cache.
      is_running: bool ``[n]``; False for those that wait.
    """

    prompt_tokens: jax.Array
    output_tokens: jax.Array
    is_real: jax.Array
    kv_capacity: jax.Array
    arrival_s: jax.Array
    priority: jax.Array
    client: jax.Array
    ttft_slo_s: jax.Array
    tpot_slo_s: jax.Array
    now_s: jax.Array
    waited_s: jax.Array
    generated_tokens: jax.Array
    computed_tokens: jax.Array
    is_running: jax.Array

    @property
    def volume(self) -> jax.Array:
        r"""Predicted memory times time, float32 ``[n]``, :math:`s o + \tfrac12 o (o + 1)`."""
        prompt = self.prompt_tokens.astype(jnp.float32)
        output = self.output_tokens.astype(jnp.float32)
        return prompt * output + 0.5 * output * (output + 1)

    @property
    def num_requests(self) -> jax.Array:
        """Rows that hold a request, int32 ``[]``."""
        return jnp.sum(self.is_real, axis=-1, dtype=jnp.int32)


@pytree
class Events:
    """What has happened at a server since a dynamic rule's state was last brought up to date.

    Attributes:
      arrived: bool ``[n]``, joined the queue for the first time.
      admitted: bool ``[n]``, began to run.
      evicted: bool ``[n]``, went back to the queue.
      computed_tokens: int32 ``[n]``, tokens of prompt and output that the step computed.
      new_tokens: int32 ``[n]``, output tokens that it gave, 0 or 1.
      completed: bool ``[n]``, gave the last token.
      step_s: float32 ``[]``, how long the step took.
    """

    arrived: jax.Array
    admitted: jax.Array
    evicted: jax.Array
    computed_tokens: jax.Array
    new_tokens: jax.Array
    completed: jax.Array
    step_s: jax.Array


class Rule(Protocol):
    """A scheduling rule: the priorities of ONE instance's requests, lowest served first.

    A rule takes an instance ``[n]`` and returns ``[n]`` priorities, integers or floats; ties go
    to the lower index, infinities are allowed, NaN is not. Padding rows (``is_real`` False) get
    a priority too, which nobody reads. :func:`~jaxsched.prioritize` maps a rule over many
    instances. At a server the rule is given an :class:`Observation` of the queue instead.

    * A **pure** rule is written with ``jax.numpy`` and runs inside ``jit`` and ``vmap``: a
      function, or a pytree with ``__call__`` (such as a ``chex.dataclass(frozen=True)``) whose
      leaves are its parameters. It is compiled once for each shape, so it must depend on
      nothing but the instance and those leaves.
    * A **host** rule, marked with :func:`~jaxsched.policies.host_rule`, is any Python: solvers,
      searches, numpy.
    """

    def __call__(self, inst: Instance, /) -> Any:
        """Return one priority for each request of ``inst``, ``[n]``."""
        ...


class DynamicRule(Protocol):
    """A rule that looks at the requests at a server anew in every step.

    It is a pytree, whose leaves are its parameters, and runs inside ``jit`` and ``vmap``. Rows of
    an :class:`Observation` that are not ``is_real`` are not at the server: they have not arrived,
    or have left.

    The rule is asked in a step in which somebody waits, or in which memory may run out, once the
    arrivals have joined: its numbers order the queue, ties by arrival, and choose victims.

    Attributes:
      evicts: whether requests that wait push out running ones of larger numbers.
      has_state: whether there is a state to bring up to date.
    """

    evicts: bool
    has_state: bool

    def init(self, obs: Observation, /) -> Any:
        """Return the state, a pytree of arrays, of an empty server; of ``obs`` only shapes."""
        ...

    def update(self, state: Any, obs: Observation, events: Events, /) -> Any:
        """Return the state after arrivals have joined, or after a step has given its tokens."""
        ...

    def numbers(self, obs: Observation, state: Any, /) -> jax.Array:
        """Return a number for each request, ``[n]``, lower first."""
        ...
