"""When each request starts and completes, and whether the KV cache allows it."""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import first_true, in_file, in_instance, reject, wrong_dtype, wrong_shape
from jaxsched._lib.npz import INTEGERS, load_arrays, save_arrays
from jaxsched._lib.pytree import exported, pytree
from jaxsched._lib.shown import are_numbers, leaves_text, shape_text, span, summary_html, text_html
from jaxsched.model.batch import Batched
from jaxsched.model.checks import require_shape, require_some
from jaxsched.model.instance import MAX_INT32, Instance, request_table

if TYPE_CHECKING:
    import pandas as pd

_FIELDS: dict[str, str] = dict.fromkeys(("start", "completion", "status"), INTEGERS)
NOT_SCHEDULED = -1


class Status(enum.IntEnum):
    """What became of an instance, or at a server of each request.

    Every start of an instance is -1 unless it is ``OK``.
    """

    OK = 0
    NAN_PRIORITY = 1
    REFUSED = 2
    STALLED = 3
    STEP_LIMIT = 4

    @property
    def sentence(self) -> str:
        """What happened and what to do about it."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.OK: "every real request was scheduled",
    Status.NAN_PRIORITY: (
        "the rule gave a real request the priority NaN, which has no place in an order; "
        "guard its logarithms, divisions and roots"
    ),
    Status.REFUSED: (
        "the request could never finish, even alone, so it was refused on arrival; raise "
        "kv_capacity, max_model_len or max_num_batched_tokens, or leave it out"
    ),
    Status.STALLED: (
        "no step could compute a token, so the server stopped with work left; choose a "
        "preemption or an admission that cannot run out of memory"
    ),
    Status.STEP_LIMIT: (
        "work was left when the most steps allowed were taken; raise the limit, or look for "
        "requests of equal priority that evict each other forever"
    ),
}


@exported
@pytree
class Schedule(Batched):
    """Start and completion rounds of every request.

    A request started at round :math:`p` computes in rounds :math:`p+1 .. p+o` and completes at
    :math:`c = p + o`.

    Attributes:
      start: int32 ``[.., n]`` rounds; -1 for padding and where ``status`` is not OK.
      completion: int32 ``[.., n]`` rounds, likewise.
      status: int32 ``[..]``, a :class:`Status` for each instance.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> js.simulate(inst, js.policies.fcfs(inst))
      Schedule(n=2, makespan=4)
    """

    start: jax.Array
    completion: jax.Array
    status: jax.Array

    @classmethod
    def from_starts(cls, inst: Instance, start: Any) -> Schedule:
        """Make a schedule of anybody's start rounds, to be judged by the same metrics.

        Capacity is not checked here: that is what :func:`verify` tells.

        Args:
          inst: the instance, ``[.., n]``.
          start: integers >= 0, ``[.., n]``; entries of padding rows are ignored.

        Returns:
          The schedule with ``completion = start + output_tokens`` and status OK.

        Raises:
          TypeError: an argument is traced.
          ValueError: shapes disagree, or a real request's start is not
            a whole round >= 0 that lets it complete before round 2^31 - 1.

        Example:
          >>> import jaxsched as js
          >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
          >>> js.Schedule.from_starts(inst, [0, 1]).completion.tolist()
          [2, 5]
        """
        refuse_traced(
            "from_starts checks values",
            "build the schedule outside, or js.Schedule(...) from arrays you trust",
            (inst, start),
        )
        real = np.asarray(inst.is_real)
        rounds = np.asarray(start)
        if rounds.shape != real.shape:
            raise wrong_shape("start", rounds.shape, beside=f"the instance has {real.shape}")
        if rounds.dtype.kind not in "iuf":
            raise wrong_dtype("start", rounds.dtype)
        output = np.asarray(inst.output_tokens, np.int64)
        is_whole = np.isfinite(rounds) & (rounds == np.floor(rounds)) & (rounds >= 0)
        is_bad = real & ~(is_whole & (rounds < MAX_INT32 - output))
        reject(
            "start",
            rounds,
            is_bad,
            "expected a whole round >= 0 that leaves the request time to complete before round "
            "2^31 - 1",
        )
        begun = np.where(real, rounds, NOT_SCHEDULED).astype(np.int64)
        return cls(
            start=jnp.asarray(begun, jnp.int32),
            completion=jnp.asarray(np.where(real, begun + output, NOT_SCHEDULED), jnp.int32),
            status=jnp.full(real.shape[:-1], int(Status.OK), jnp.int32),
        )

    @property
    def _leading(self) -> tuple[int, ...]:
        return tuple(self.start.shape[:-1])

    def to_pandas(self) -> pd.DataFrame:
        """One row a scheduled request: instance, request, start and completion round."""
        return request_table(
            np.asarray(self.start) >= 0, start=self.start, completion=self.completion
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the schedule to ``path`` as npz; :meth:`load` reads it back.

        Args:
          path: the file, named as it is (nothing is appended).
        """
        save_arrays(path, "Schedule", {name: getattr(self, name) for name in _FIELDS})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Schedule:
        """Read what :meth:`save` wrote.

        Args:
          path: the file.

        Raises:
          ValueError: the file is damaged or holds no schedule; the message names it.
          OSError: it cannot be opened.
        """
        arrays = load_arrays(path, "Schedule", _FIELDS)
        with in_file(path):
            _require_schedule(**arrays)
        return cls(**{name: jnp.asarray(array, jnp.int32) for name, array in arrays.items()})

    def __repr__(self) -> str:
        """Shapes and a summary only: also readable for a tracer or a million requests."""
        shape = shape_text(self.start)
        if shape is None:
            return leaves_text("Schedule", {name: getattr(self, name) for name in _FIELDS})
        parts = [shape]
        if are_numbers(self.completion, self.status) and np.size(self.status):
            status = np.asarray(self.status)
            if (is_ok := status == Status.OK).any():
                makespan = np.asarray(self.completion).max(axis=-1)
                parts.append(f"makespan={span(makespan[is_ok])}")
            parts += _failures(status)
        return f"Schedule({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """When requests start and complete, for notebooks."""
        leaves = [getattr(self, name) for name in _FIELDS]
        if not are_numbers(*leaves):
            return text_html(repr(self))
        start, completion, status = map(np.asarray, leaves)
        is_ok = status == Status.OK
        is_placed = (start >= 0) & is_ok[..., None]
        if not is_placed.any():
            return text_html(repr(self))
        counts = is_placed.sum(axis=-1)[is_ok]
        backlogs = f"{np.count_nonzero(is_ok)} backlogs of " if status.ndim else ""
        left_out = np.count_nonzero(~is_placed[is_ok])
        notes = [f"rows of padding, not counted: {left_out}"] if left_out else []
        for failed in np.unique(status[~is_ok]):
            count = np.count_nonzero(status == failed)
            notes.append(f"{count} of {status.size} not scheduled: {_sentence(failed)}")
        return summary_html(
            f"Schedule of {backlogs}{span(counts)} requests",
            corner="rounds",
            rows={
                "start": start[is_placed],
                "completion": completion[is_placed],
                "makespan": completion.max(axis=-1)[is_ok],
            },
            caption="; ".join(notes),
        )


def _require_schedule(start: np.ndarray, completion: np.ndarray, status: np.ndarray) -> None:
    """Raise unless arrays can be those of a schedule, of whichever instance."""
    require_some("start", start.shape)
    require_shape("completion", completion, start.shape, like="start")
    if status.shape != start.shape[:-1]:
        raise wrong_shape("status", status.shape, beside=f"start has {start.shape}")
    reject("status", status, ~np.isin(status, list(_SENTENCES)), "expected a js.Status")
    is_ok = (status == Status.OK)[..., None]
    is_out = (start < NOT_SCHEDULED) | (start >= MAX_INT32) | ~is_ok & (start != NOT_SCHEDULED)
    reject("start", start, is_out, "expected a round, or -1 where nothing is scheduled")
    is_placed = start >= 0
    is_after = (completion > start) & (completion <= MAX_INT32)
    is_out = ~np.where(is_placed, is_after, completion == NOT_SCHEDULED)
    reject("completion", completion, is_out, "expected a round after the start, or -1 with it")


def _failures(status: np.ndarray) -> list[str]:
    """Name each status other than OK, with the number of its instances where there are several."""
    failed = {_name(code): np.count_nonzero(status == code) for code in np.unique(status) if code}
    if not status.ndim:
        return [f"status={name}" for name in failed]
    return [f"{name} in {count} of {status.size}" for name, count in failed.items()]


def _name(code: int) -> str:
    return Status(code).name if code in _SENTENCES else f"status {code}"


def _sentence(code: int) -> str:
    return Status(code).sentence if code in _SENTENCES else _name(code)


def require_ok(
    sched: Schedule,
    name: str = "the rule",
    *,
    first: int = 0,
    leading: tuple[int, ...] | None = None,
) -> None:
    """Raise for the first instance that was not scheduled, naming rule, instance and remedy.

    Args:
      sched: the schedule, ``[.., n]``; or a chunk ``[rows, n]`` of a larger one.
      name: who made it.
      first: number of the chunk's first instance in the larger schedule.
      leading: leading axes of that.
    """
    status = np.asarray(sched.status)
    position = first_true(status != Status.OK)
    if position is None:
        return
    in_whole = position if leading is None else np.unravel_index(first + position[0], leading)
    raise ValueError(f"{name}{in_instance(in_whole)}: {Status(status[position]).sentence}")
