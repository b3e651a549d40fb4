"""Search for a better order than any rule gives, with the exact simulator inside."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.chunks import device_chunk_size, map_device_chunks
from jaxsched._lib.devices import Device, MappedProgram, is_cpu, local_devices
from jaxsched._lib.errors import MAX_INT32, InputError, integer, wrong_shape
from jaxsched._lib.progress import progress_bar
from jaxsched._lib.pytree import pytree
from jaxsched.bounds import volume
from jaxsched.engine.contract import Admission, Discipline
from jaxsched.engine.offline.kernels import KERNEL_WIDTH
from jaxsched.engine.order import serving_order_on_host
from jaxsched.engine.simulate import backlog_server, checked_cap, schedule_on
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import Schedule, require_ok
from jaxsched.model.server import Server
from jaxsched.policies import Rule, prioritize, rule_name
from jaxsched.search.anneal import (
    MAX_REQUESTS,
    STEPS_PER_ROUND,
    AnyTotal,
    Chains,
    Total,
    WeightedTotal,
    anneal,
)

_NUM_CHAINS = 64
_MOST_POSITIONS = 2**28  # in the orders of all chains, of which a search holds several copies
_STEPS_BETWEEN_SELECTIONS = 16 * STEPS_PER_ROUND
_OF_FLOATS = 1e-9  # relative: weighted sums differ by as much, added up in another order


@pytree
class Improvement:
    """The best orders that a search has found; made by :func:`jaxsched.improve`.

    Attributes:
      priority: int32 ``[.., n]``, the position of each request in the best order, padding last.
      schedule: what :func:`jaxsched.simulate` makes of it.
      history: float64 ``[.., H]``, the least total latency so far in rounds, weighted where the
        instance is; first the start's.
      steps: int64 ``[H]``, steps that each chain had taken by then.
      chains: where the search stands, for a later call to go on from.
    """

    priority: jax.Array
    schedule: Schedule
    history: np.ndarray
    steps: np.ndarray
    chains: Chains

    @property
    def num_chains(self) -> int:
        """Chains an instance."""
        return self.chains.order.shape[-2]

    @property
    def evaluations(self) -> np.ndarray:
        """Orders simulated for an instance by each entry of the history, int64 ``[H]``."""
        return self.steps * self.num_chains

    def __repr__(self) -> str:
        """Shapes, effort and what it gained."""
        *leading, n = self.priority.shape
        batch = f"leading={tuple(leading)}, " if leading else ""
        change = np.mean(self.history[..., -1] / self.history[..., 0]) - 1
        return (
            f"Improvement({batch}n={n}, {self.num_chains} chains of {self.steps[-1]} steps, "
            f"total latency {change:+.2%})"
        )


def improve(
    inst: Instance,
    start: Rule | str | Improvement | Any,
    *,
    num_steps: int = 10_000,
    num_chains: int | None = None,
    key: jax.Array,
    discipline: Discipline = "strict",
    admission: Admission = "look_ahead",
    max_num_seqs: Any = None,
    bound: Any = None,
    progress: bool | None = None,
) -> Improvement:
    r"""Improve an order by simulated annealing: every step simulates a changed order exactly.

    Each chain starts from the same order and walks by itself: a request is moved elsewhere in
    the order, or changes places with another, and the new order is kept if it lowers the total
    latency, or else with a probability that falls as the search goes on. From time to time the
    worse half of an instance's chains goes on from the orders of the better half. The result is
    the best order ever seen, never worse than the start. Where the instance has weights, the
    total latency is the weighted one, :math:`\sum_i w_i c_i`.

    The chains of all instances are simulated in step, on all cores; nothing compiles anew for
    other numbers. The same key gives an instance the same result on any number of cores and in
    any batch. A search can go on: two calls of N steps, the second from the first one's result
    with the same key and options, equal one call of 2 N.

    Args:
      inst: the instance, ``[.., n]``.
      start: a rule, the name of one, priorities ``[.., n]``, or the :class:`Improvement` to go
        on from. For another discipline start anew from its ``priority``.
      num_steps: steps of each chain.
      num_chains: chains an instance, 64 unless given; a search that goes on keeps its own. More
        chains search more widely, more steps more deeply. On a CPU 32 chains, of whichever
        instances, make a group for one core.
      key: jax random key.
      discipline: see :func:`simulate`.
      admission: see :func:`simulate`.
      max_num_seqs: see :func:`simulate`.
      bound: lower bound on total latency ``[..]``, such as ``js.bounds.price(inst).value``: the
        progress bar shows how far above it the best orders are. None stands for
        ``js.bounds.volume(inst)``, which is quick but loose.
      progress: True or False to show a progress bar or not; None shows it on a terminal.

    Returns:
      An :class:`Improvement`.

    Raises:
      ValueError: ``num_steps`` or ``num_chains`` is not an integer >= 1, or is too large; the start
        gives a real request the priority NaN; there are more than 32,768 requests an instance;
        shapes do not fit; the search to go on with had other options; or what :func:`simulate`
        rejects.
      TypeError: called inside ``jit`` or ``vmap``.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([4, 1, 2, 3], [3, 4, 2, 1], kv_capacity=8)
      >>> better = js.improve(inst, "fcfs", num_steps=20, num_chains=2, key=jax.random.key(0))
      >>> better.history[[0, -1]].tolist()
      [21.0, 15.0]
      >>> better.schedule.start.tolist() == js.simulate(inst, better.priority).start.tolist()
      True

    Source:
      Kirkpatrick, Gelatt, Vecchi, *Optimization by Simulated Annealing*, Science 220, 1983. Moves,
      temperatures and selection are ours.
    """
    refuse_traced("improve looks at values", "call it outside", (inst, start))
    num_steps = integer("num_steps", num_steps, 1, MAX_INT32)
    inst = jax.tree.map(np.asarray, inst)
    server = backlog_server(inst, discipline, admission, max_num_seqs)
    schedule = functools.partial(schedule_on, server, inst)
    if isinstance(start, Improvement):
        _require_same_search(inst, start, num_chains, schedule)
    else:
        num_chains = _NUM_CHAINS if num_chains is None else num_chains
        num_instances = inst.kv_capacity.size
        require_searchable(inst.prompt_tokens.shape[-1], num_instances, num_steps, num_chains)
        start = _outset(inst, start, num_chains, schedule)
    walk = _walker(inst, start, key, server)
    note = _note_on(inst, bound)

    output = _weighed_sum(inst, inst.output_tokens)
    chains, history, steps = start.chains, [start.history], [start.steps]
    done = int(start.steps[-1])
    if done + num_steps > MAX_INT32:
        finding = f"is {num_steps} but the search to go on with has taken {done}"
        raise InputError("num_steps", num_steps, "expected at most 2^31 - 1 in all", (), finding)
    with progress_bar(num_steps, "steps a chain", progress) as bar:
        for begin, end in _rounds(done, done + num_steps):
            chains, total = walk(chains, begin, end)
            if end % _STEPS_BETWEEN_SELECTIONS == 0:
                chains = _select(chains, total)
            latency = chains.best_total.exact().min(axis=-1) + output
            history.append(latency[..., None].astype(np.float64))
            steps.append(np.array([end]))
            bar.set_description(note(latency))
            bar.update(end - begin)

    winner = chains.best_total.exact().argmin(axis=-1)[..., None, None]
    priority = _positions(np.take_along_axis(chains.best, winner, axis=-2)[..., 0, :])
    return Improvement(
        priority=jnp.asarray(priority),
        schedule=schedule(priority),
        history=np.concatenate(history, axis=-1),
        steps=np.concatenate(steps),
        chains=chains,
    )


def require_searchable(n: int, num_instances: int, num_steps: Any, num_chains: Any) -> None:
    """Raise for a search that :func:`improve` would not begin, before any work is done for it."""
    integer("num_steps", num_steps, 1, MAX_INT32)
    size = n * num_instances * integer("num_chains", num_chains, 1, MAX_INT32)
    if n > MAX_REQUESTS:
        finding = f"the instance has {n} requests; improve takes at most {MAX_REQUESTS}"
        raise ValueError(f"{finding}, and a sample of them will do")
    if size > _MOST_POSITIONS:
        finding = f"is {num_chains}, which makes {size} positions in the orders of all chains"
        expectation = f"expected at most {_MOST_POSITIONS}, for the sake of memory"
        raise InputError("num_chains", num_chains, expectation, finding=finding)


def _outset(
    inst: Instance, start: Any, num_chains: int, schedule: Callable[[Any], Schedule]
) -> Improvement:
    """Make the start a search that has taken no step yet."""
    is_rule = isinstance(start, str) or callable(start)
    priority = np.asarray(prioritize(inst, start) if is_rule else start)
    sched = schedule(priority)
    require_ok(sched, f"rule {rule_name(start)!r}" if is_rule else "the start")

    order = serving_order_on_host(priority)
    is_padding = ~np.take_along_axis(np.asarray(inst.is_real), order, axis=-1)
    padding_last = np.argsort(is_padding, axis=-1, kind="stable")
    order = np.take_along_axis(order, padding_last, axis=-1)
    kind = Total if inst.weight is None else WeightedTotal
    total = kind.of(_weighed_sum(inst, sched.start))
    return Improvement(
        priority=jnp.asarray(_positions(order)),
        schedule=sched,
        history=_weighed_sum(inst, sched.completion)[..., None].astype(np.float64),
        steps=np.zeros(1, np.int64),
        chains=_for_each_chain(Chains(order, order, total), inst, num_chains),
    )


def _walker(
    inst: Instance,
    start: Improvement,
    key: jax.Array,
    server: Server,
) -> Callable[[Chains, int, int], tuple[Chains, AnyTotal]]:
    """Make the function that takes all chains through steps of one round, on all devices.

    It returns the chains and the sums of start rounds ``[.., C]`` by their orders.
    """
    leading, n = inst.kv_capacity.shape, inst.prompt_tokens.shape[-1]
    max_num_seqs = checked_cap(inst, server.max_num_seqs)
    mean_latency = (start.history[..., 0] / inst.is_real.sum(axis=-1)).astype(np.float32)
    of_instance = _for_each_chain((inst, max_num_seqs, mean_latency), inst, start.num_chains)
    lanes = (*leading, start.num_chains)
    number = np.broadcast_to(np.arange(start.num_chains, dtype=np.int32), lanes)
    devices = local_devices()
    # On a CPU steps make a call long, and a short one is easy to share; elsewhere memory counts.
    work = n * STEPS_PER_ROUND if is_cpu(devices) else n
    chunk_size = device_chunk_size(lanes, work, devices, group=KERNEL_WIDTH)

    static = ("discipline", server.discipline), ("admission", server.admission)
    annealed = MappedProgram(anneal, num_mapped=len(of_instance) + 2, static=static)

    def walk(chains: Chains, begin: int, end: int) -> tuple[Chains, AnyTotal]:
        def run(
            devices: tuple[Device, ...], of_instance: Any, number: Any, chains: Chains
        ) -> tuple[Chains, AnyTotal]:
            whole = key, np.int32(begin), np.int32(end)
            if inst.weight is None:
                return annealed(devices, *of_instance, number, chains, *whole)
            with jax.enable_x64(True):
                return annealed(devices, *of_instance, number, chains, *whole)

        trees = of_instance, number, chains
        cut = {"leading": lanes, "chunk_size": chunk_size, "devices": devices}
        return map_device_chunks(run, *trees, **cut)

    return walk


def _for_each_chain(tree: Any, inst: Instance, num_chains: int) -> Any:
    """Leaves ``[.., *rest]`` with the leading axes of the instance as ``[.., C, *rest]``."""
    leading = inst.kv_capacity.shape

    def repeated(leaf: np.ndarray) -> np.ndarray:
        shape = (*leading, num_chains, *leaf.shape[len(leading) :])
        return np.broadcast_to(np.expand_dims(leaf, len(leading)), shape)

    return jax.tree.map(repeated, tree)


def _weighed_sum(inst: Instance, rounds: Any) -> np.ndarray:
    """Sum over the real requests of each instance: int64 ``[..]``, or with weights float64."""
    rounds = np.asarray(rounds, np.int64)
    if inst.weight is not None:
        rounds = inst.weight.astype(np.float64) * rounds
    return np.sum(rounds, axis=-1, where=inst.is_real)


def _rounds(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Cut the steps ``first .. last - 1`` where a round ends, counted from step 0."""
    while first < last:
        end = min(last, first - first % STEPS_PER_ROUND + STEPS_PER_ROUND)
        yield first, end
        first = end


def _select(chains: Chains, total: AnyTotal) -> Chains:
    """Let the worse half of an instance's chains go on from the orders of the better half."""
    rank = np.argsort(total.exact(), axis=-1, kind="stable")
    half = rank.shape[-1] // 2
    survivors = np.concatenate([rank[..., : rank.shape[-1] - half], rank[..., :half]], axis=-1)
    source = np.empty_like(rank)
    np.put_along_axis(source, rank, survivors, axis=-1)
    return chains._replace(order=np.take_along_axis(chains.order, source[..., None], axis=-2))


def _positions(order: np.ndarray) -> np.ndarray:
    """Position of each request in the order, int32."""
    position = np.empty(order.shape, np.int32)
    np.put_along_axis(position, order, np.arange(order.shape[-1], dtype=np.int32), axis=-1)
    return position


def _require_same_search(
    inst: Instance,
    search: Improvement,
    num_chains: int | None,
    schedule: Callable[[Any], Schedule],
) -> None:
    """Raise unless ``search`` was a search with this instance and these options."""
    if search.priority.shape != inst.prompt_tokens.shape:
        raise wrong_shape(
            "the search to go on with",
            search.priority.shape,
            beside=f"the instance has {inst.prompt_tokens.shape}",
        )
    if num_chains not in (None, search.num_chains):
        raise InputError(
            "num_chains",
            num_chains,
            "leave num_chains out, or start anew from its priority",
            finding=f"is {num_chains} but the search to go on with has {search.num_chains}",
        )
    again = _weighed_sum(inst, schedule(search.priority).completion)
    known = search.history[..., -1]
    is_kind = isinstance(search.chains.best_total, Total) == (inst.weight is None)
    if (
        not is_kind
        or (np.abs(again - known) > _OF_FLOATS * known * (inst.weight is not None)).any()
    ):
        raise ValueError(
            "the search to go on with was for another instance, discipline, admission or "
            "max_num_seqs; give the same, or start anew from its priority"
        )


def _note_on(inst: Instance, bound: Any) -> Callable[[np.ndarray], str]:
    """Make the function from total latencies ``[..]`` to a note beside the progress bar."""
    lower = np.asarray(volume(inst) if bound is None else bound, np.float64)
    if lower.shape != inst.kv_capacity.shape:
        raise wrong_shape(
            "bound", lower.shape, f"expected one number for each instance, {inst.kv_capacity.shape}"
        )
    return lambda latency: f"{np.mean(latency / lower - 1):.2%} above bound"
