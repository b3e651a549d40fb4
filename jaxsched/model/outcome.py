"""What became of every request: the one thing that metrics, objectives, plots and exports read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import in_jax, namespace, on_host
from jaxsched._lib.pytree import exported, pytree, static
from jaxsched._lib.shown import are_numbers, leaves_text, shape_text, summary_html, text_html
from jaxsched.model.batch import Batched
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance, request_table
from jaxsched.model.schedule import Schedule, Status

if TYPE_CHECKING:
    import pandas as pd

TimeUnit = Literal["rounds", "s"]
_TIMES = ("arrival", "first_scheduled", "first_token", "completion")


@exported
@pytree
class Outcome(Batched):
    r"""When each request arrived, was first scheduled, gave its first token, and completed.

    Times count from round 0 or second 0. All requests of a backlog arrive then, so that latency
    equals completion there, and only there.

    Attributes:
      arrival: ``[.., n]``, when the request reached the server.
      first_scheduled: ``[.., n]``, the start of the step that first computed tokens of it.
      first_token: ``[.., n]``, the end of the step that gave its first output token.
      completion: ``[.., n]``, the end of the step that gave its last output token.
      num_preemptions: int32 ``[.., n]``, how often it lost its place.
      status: int32 ``[.., n]``, a :class:`Status` for each request.
      is_real: bool ``[.., n]``; False marks padding, whose other entries mean nothing.
      max_itl: float ``[.., n]``, the longest time between two of its tokens; 0 for one token.
      itl_histogram: int ``[.., K]``, times between tokens of all requests, counted by the edges
        ``js.metrics.ITL_EDGES_S``.
      num_steps: int ``[..]``, steps that the server took.
      recomputed_tokens: int ``[..]``, tokens computed again after preemptions.
      busy: ``[..]``, time that the server spent in steps.
      peak_kv_tokens: int ``[..]``, the most tokens cached at the end of a step, before requests
        that finish give theirs back.
      kv_token_time: ``[..]``, tokens so cached times the length of the step, added up.
      time_unit: ``"rounds"`` or ``"s"``; static. Rounds are integers, or floats of a relaxation;
        seconds are float64.

    The fields from ``max_itl`` on are what :func:`jaxsched.serve` adds; a backlog's outcome has
    None there.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> out = js.Outcome.from_schedule(inst, js.Schedule.from_starts(inst, [0, 1]))
      >>> out.latency.tolist(), out.ttft.tolist()
      ([2, 5], [1, 2])
    """

    arrival: Any
    first_scheduled: Any
    first_token: Any
    completion: Any
    num_preemptions: Any
    status: Any
    is_real: Any
    max_itl: Any = None
    itl_histogram: Any = None
    num_steps: Any = None
    recomputed_tokens: Any = None
    busy: Any = None
    peak_kv_tokens: Any = None
    kv_token_time: Any = None
    time_unit: TimeUnit = static(default="s")

    @classmethod
    def from_schedule(
        cls, inst: Instance, sched: Schedule, clock: LinearClock | None = None
    ) -> Outcome:
        """Read a schedule of a backlog, in rounds or by a clock.

        Args:
          inst: the instance, ``[.., n]``.
          sched: its schedule.
          clock: the length of each round; None counts rounds.

        Returns:
          The outcome: float64 seconds whatever jax's width, NaN for padding and where an
          instance was not scheduled, or int32 rounds.

        Example:
          >>> import jaxsched as js
          >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
          >>> sched = js.Schedule.from_starts(inst, [0, 1])
          >>> clock = js.clock.LinearClock(1000.0, 0.0, 0.0, 0.0, 0.0)
          >>> js.Outcome.from_schedule(inst, sched, clock).completion_s.tolist()
          [2.0, 5.0]
        """
        if clock is None:
            xp = namespace(sched.start)  # stay where the schedule is
            times = sched.start, sched.start + xp.int32(1), sched.completion
            return cls._of_backlog(inst, sched, times, "rounds")
        if not in_jax(inst, sched, clock):
            inst, sched = on_host((inst, sched))
        xp = namespace(sched.start)
        with jax.enable_x64(True):
            times = sched.start, sched.start + xp.int32(1), sched.completion
            rounds = xp.concatenate([xp.where(inst.is_real, each, -1) for each in times], axis=-1)
            seconds = xp.split(clock.seconds(inst, sched, rounds), 3, axis=-1)
            return cls._of_backlog(inst, sched, seconds, "s")

    @classmethod
    def _of_backlog(
        cls, inst: Instance, sched: Schedule, times: Sequence[Any], unit: TimeUnit
    ) -> Outcome:
        xp, shape = namespace(sched.start), inst.is_real.shape
        first_scheduled, first_token, completion = times
        return cls(
            arrival=xp.zeros_like(completion),
            first_scheduled=first_scheduled,
            first_token=first_token,
            completion=completion,
            num_preemptions=xp.zeros(shape, xp.int32),
            status=xp.broadcast_to(sched.status[..., None], shape),
            is_real=inst.is_real,
            time_unit=unit,
        )

    @classmethod
    def relaxed(cls, inst: Instance, completion: Any) -> Outcome:
        """Make an outcome of completions that no schedule has, smooth in what they come from.

        Args:
          inst: the instance, ``[.., n]``.
          completion: floats ``[.., n]``, rounds.

        Returns:
          The outcome in rounds; a request runs for its output tokens without a break.
        """
        start = completion - inst.output_tokens.astype(completion.dtype)
        none = jnp.zeros(inst.is_real.shape, jnp.int32)
        return cls(
            arrival=jnp.zeros_like(completion),
            first_scheduled=start,
            first_token=start + 1,
            completion=completion,
            num_preemptions=none,
            status=none,
            is_real=inst.is_real,
            time_unit="rounds",
        )

    @property
    def latency(self) -> Any:
        """End-to-end latency ``[.., n]``, completion less arrival (E2E)."""
        return self.completion - self.arrival

    @property
    def ttft(self) -> Any:
        """Time to first token ``[.., n]``, first token less arrival."""
        return self.first_token - self.arrival

    @property
    def queueing(self) -> Any:
        """Wait ``[.., n]`` from arrival until the request is first scheduled."""
        return self.first_scheduled - self.arrival

    @property
    def arrival_s(self) -> Any:
        """Arrival in seconds, ``[.., n]``."""
        return self._seconds("arrival")

    @property
    def first_scheduled_s(self) -> Any:
        """First scheduled, in seconds, ``[.., n]``."""
        return self._seconds("first_scheduled")

    @property
    def first_token_s(self) -> Any:
        """First token in seconds, ``[.., n]``."""
        return self._seconds("first_token")

    @property
    def completion_s(self) -> Any:
        """Completion in seconds, ``[.., n]``."""
        return self._seconds("completion")

    @property
    def busy_s(self) -> Any:
        """Seconds that the server spent in steps, ``[..]``."""
        return self._seconds("busy")

    def to_pandas(self) -> pd.DataFrame:
        """One row a real request: instance, request, its four times, preemptions and status."""
        columns = {name: getattr(self, name) for name in (*_TIMES, "num_preemptions", "status")}
        return request_table(self.is_real, **columns)

    def _seconds(self, name: str) -> Any:
        if self.time_unit != "s":
            raise ValueError(
                f"this outcome counts rounds, so it has no {name}_s; give a clock to "
                "Outcome.from_schedule"
            )
        return getattr(self, name)

    @property
    def _leading(self) -> tuple[int, ...]:
        return tuple(self.is_real.shape[:-1])

    def __repr__(self) -> str:
        """Shapes and a summary only: also readable for a tracer or a million requests."""
        shape = shape_text(self.completion)
        if shape is None:
            return leaves_text("Outcome", {name: getattr(self, name) for name in _TIMES})
        parts = [shape, f"time_unit={self.time_unit!r}"]
        if are_numbers(self.completion, self.is_real, self.status):
            done = self._is_done()
            if done.any():
                last = np.asarray(self.completion)[done].max()
                parts.append(f"last completion={last:.6g}")
            if left := np.count_nonzero(np.asarray(self.is_real) & ~done):
                parts.append(f"not served={left}")
        return f"Outcome({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """How long requests waited and took, for notebooks."""
        if not are_numbers(self.completion, self.arrival, self.is_real, self.status):
            return text_html(repr(self))
        done = self._is_done()
        if not done.any():
            return text_html(repr(self))
        left = np.count_nonzero(np.asarray(self.is_real) & ~done)
        return summary_html(
            f"Outcome of {np.count_nonzero(done)} requests",
            corner=self.time_unit,
            rows={
                "queueing": np.asarray(self.queueing)[done],
                "time to first token": np.asarray(self.ttft)[done],
                "latency": np.asarray(self.latency)[done],
            },
            caption=f"requests not served: {left}" if left else "",
        )

    def _is_done(self) -> np.ndarray:
        return np.asarray(self.is_real) & (np.asarray(self.status) == Status.OK)
