"""From priorities to start rounds, for one instance or for many."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxsched._lib.arrays import is_resident, is_traced
from jaxsched._lib.chunks import device_chunk_size, map_device_chunks
from jaxsched._lib.devices import Device, MappedProgram, local_devices
from jaxsched._lib.errors import InputError, choice, wrong_dtype, wrong_shape
from jaxsched._lib.resident import on_devices
from jaxsched.engine.contract import Admission, Discipline
from jaxsched.engine.offline.kernels import KERNEL_WIDTH
from jaxsched.engine.offline.programs import by_priority, from_order
from jaxsched.engine.order import serving_order_on_host
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import Schedule
from jaxsched.model.server import Server


def simulate(
    inst: Instance,
    priority: Any,
    *,
    discipline: Discipline = "strict",
    admission: Admission = "look_ahead",
    max_num_seqs: Any = None,
) -> Schedule:
    r"""Schedule every request by priority with look-ahead, exact to the round.

    Under strict order, at each round the next requests in order start, as long as no future
    round would hold more than :math:`M` tokens; the first that does not fit blocks those behind
    it. A request started at round :math:`p` holds :math:`s + t - p` tokens in rounds
    :math:`t = p+1 .. p+o`.

    Concrete arrays run in chunks on all cores or devices. On accelerators, and where inputs are
    sharded, results stay on the devices and nothing is waited for. Inside ``jit``, ``vmap``,
    ``scan`` or ``shard_map`` it is one program, and on a mesh each device takes its own
    instances. Nothing compiles anew for other lengths, capacities or priorities.

    Starts are whole rounds, so the gradient through them is zero. To tune a rule's parameters
    take :func:`~jaxsched.tune` or an estimator of :mod:`jaxsched.tuning`.

    Args:
      inst: the instance, ``[.., n]``.
      priority: integers or floats ``[.., n]``, lower first, ties by index; compared in their
        own dtype. Infinities are allowed. Entries of padding rows are ignored.
      discipline: ``"strict"`` starts requests in order, which a server can do as it goes.
        ``"earliest_fit"`` places each in turn at the first round at which it fits among those
        already placed, which needs the plan before the first round.
      admission: ``"look_ahead"`` counts the tokens a request holds in each round;
        ``"peak"`` counts :math:`s + o` in all of its rounds.
      max_num_seqs: most requests active in one round, an integer >= 1, or one for each instance
        ``[..]``; None for no cap. A number may be traced.

    Returns:
      The :class:`Schedule`. An instance with a NaN priority for a real request has status
      ``NAN_PRIORITY`` and no starts.

    Raises:
      ValueError: shapes or dtypes do not fit, or an option is unknown.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 3], kv_capacity=7)
      >>> js.simulate(inst, [1, 2, 3]).start.tolist()
      [0, 1, 5]

    Source:
      Jaillet et al., 2025, arXiv:2502.07115 (the admission test); Wang, Ye, Zhou, *LLM Serving
      Optimization with Variable Prefill and Decode Lengths*, 2025, arXiv:2508.06133 (the model).
      Earliest fit is serial schedule generation from project scheduling; on this model ours.
    """
    server = backlog_server(inst, discipline, admission, max_num_seqs)
    return schedule_on(server, inst, priority)


def backlog_server(
    inst: Instance,
    discipline: Discipline = "strict",
    admission: Admission = "look_ahead",
    max_num_seqs: Any = None,
    clock: LinearClock | None = None,
) -> Server:
    """Make the server that works off backlogs in rounds, from the options of :func:`simulate`."""
    choice("discipline", discipline, get_args(Discipline))
    choice("admission", admission, get_args(Admission))
    return Server(
        kv_capacity=inst.kv_capacity,
        clock=clock,
        max_num_seqs=max_num_seqs,
        admission=admission,
        discipline=discipline,
    )


def schedule_on(server: Server, inst: Instance, priority: Any) -> Schedule:
    """Schedule backlogs on a server, whose KV capacity is that of the instance."""
    priority = _checked_priority(inst, priority)
    inst = dataclasses.replace(inst, weight=None)  # which count for nothing here
    max_num_seqs = checked_cap(inst, server.max_num_seqs)
    words: Any = server.discipline, server.admission  # those of backlogs
    trees = inst, priority, max_num_seqs
    if is_traced(trees):
        inst, priority, max_num_seqs = jax.tree.map(jnp.asarray, trees)
        priority = lax.stop_gradient(priority)
        return by_priority(*words)(inst.kv_capacity.ndim, inst, priority, max_num_seqs)
    if is_resident(trees):
        shape = inst.kv_capacity.shape, priority.shape[-1]
        return on_devices(by_priority(*words), *shape, *trees)
    return _on_cpu(inst, priority, max_num_seqs, *words)


def _checked_priority(inst: Instance, priority: Any) -> Any:
    if not isinstance(priority, (jax.Array, np.ndarray)):
        priority = np.asarray(priority)
    shape = inst.prompt_tokens.shape
    if priority.shape != shape:
        raise wrong_shape(
            "priority",
            priority.shape,
            "give one number for each request (prioritize maps a one-instance rule)",
            beside=f"the instance has {shape}",
        )
    if not (
        jnp.issubdtype(priority.dtype, jnp.integer) or jnp.issubdtype(priority.dtype, jnp.floating)
    ):
        raise wrong_dtype("priority", priority.dtype, "expected integers or floats")
    return priority


def checked_cap(inst: Instance, max_num_seqs: Any) -> Any:
    """Take a cap as int32, one for each instance ``[..]``, or None where there is none."""
    if max_num_seqs is None:
        return None
    leading = inst.kv_capacity.shape
    if not isinstance(max_num_seqs, Tracer):
        cap = np.asarray(max_num_seqs)
        if cap.dtype.kind not in "iu" or (cap < 1).any():
            raise InputError("max_num_seqs", max_num_seqs, "expected integers >= 1, or None")
        wide = cap.astype(np.int32) if cap.dtype.itemsize < 4 else cap
        max_num_seqs = np.minimum(wide, np.iinfo(np.int32).max)
    if np.shape(max_num_seqs) not in ((), leading):
        raise wrong_shape(
            "max_num_seqs",
            np.shape(max_num_seqs),
            f"expected one integer, or one for each instance {leading}",
        )
    if isinstance(max_num_seqs, Tracer):
        return jnp.broadcast_to(max_num_seqs.astype(jnp.int32), leading)
    return np.broadcast_to(max_num_seqs.astype(np.int32), leading)


def _on_cpu(
    inst: Instance,
    priority: Any,
    max_num_seqs: Any,
    discipline: Discipline,
    admission: Admission,
) -> Schedule:
    devices = local_devices()
    leading, n = inst.kv_capacity.shape, inst.prompt_tokens.shape[-1]
    inst, priority = jax.tree.map(np.asarray, (inst, priority))
    static = ("discipline", discipline), ("admission", admission)
    schedule_in_order = MappedProgram(from_order, num_mapped=4, static=static)

    def run(
        devices: tuple[Device, ...], inst: Instance, priority: Any, max_num_seqs: Any
    ) -> Schedule:
        order = serving_order_on_host(priority)
        has_nan = np.zeros(len(order), bool)
        if not jnp.issubdtype(priority.dtype, jnp.integer):
            has_nan = np.any(np.isnan(priority) & inst.is_real, axis=-1)
        return schedule_in_order(devices, inst, order, has_nan, max_num_seqs)

    result = map_device_chunks(
        run,
        inst,
        priority,
        max_num_seqs,
        leading=leading,
        chunk_size=device_chunk_size(leading, n, devices, group=KERNEL_WIDTH),
        devices=devices,
    )
    return jax.tree.map(jnp.asarray, result)
