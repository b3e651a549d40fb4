"""Requests that arrive over time: the input of the online problem."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import (
    MAX_INT32,
    InputError,
    first_true,
    reject,
    wrong_dtype,
    wrong_shape,
)
from jaxsched._lib.npz import BOOLS, FLOATS, INTEGERS, NUMBERS
from jaxsched._lib.pytree import exported, pytree
from jaxsched._lib.shown import are_numbers, leaves_text, shape_text, span, summary_html, text_html
from jaxsched.model.batch import Batched
from jaxsched.model.checks import (
    compact,
    predictions,
    real_numbers,
    require_padding,
    require_shape,
    require_some,
    require_tokens,
    tokens_on_device,
    whole_numbers,
)
from jaxsched.model.files import load_fields, save_fields
from jaxsched.model.instance import Instance, request_table

if TYPE_CHECKING:
    import pandas as pd

_REQUIRED = {
    "arrival_s": FLOATS,
    "prompt_tokens": INTEGERS,
    "output_tokens": INTEGERS,
    "is_real": BOOLS,
}
_OPTIONAL = {
    "predicted_output_tokens": FLOATS,
    "priority": NUMBERS,
    "client": INTEGERS,
    "ttft_slo_s": FLOATS,
    "tpot_slo_s": FLOATS,
    "is_counted": BOOLS,
}


@exported
@pytree
class Requests(Batched):
    """Who arrives when, with how long a prompt, and for how long an answer.

    Build them with :meth:`from_arrays`, which validates; the constructor does not, so that
    requests can pass through ``jit`` and ``vmap``. Streams of unlike length are joined by
    :func:`jaxsched.stack`.

    Attributes:
      arrival_s: float64 ``[.., n]`` seconds, ascending; infinite for padding.
      prompt_tokens: int32 ``[.., n]``.
      output_tokens: int32 ``[.., n]``, what is really generated; no rule sees it.
      is_real: bool ``[.., n]``; False marks padding, which holds 1 token each way.
      predicted_output_tokens: float32 ``[.., n]``, what rules and admission see; None: the truth.
      priority: ``[.., n]``, lower first, for the rule ``"priority"``; None: all alike.
      client: int32 ``[.., n]``, who sent it; None: all the same.
      ttft_slo_s: float32 ``[.., n]``, target for the time to first token; None: no target.
      tpot_slo_s: float32 ``[.., n]``, target for the time per output token; None: no target.
      is_counted: bool ``[.., n]``, whether metrics count the request, which is served in any
        case; None: all of them. See :func:`jaxsched.workloads.arrivals.cut`.

    Example:
      >>> import jaxsched as js
      >>> js.Requests.from_arrays([0.0, 0.5], [300, 20], [40, 100])
      Requests(n=2, arrival_s=0..0.5)
    """

    arrival_s: Any
    prompt_tokens: Any
    output_tokens: Any
    is_real: Any
    predicted_output_tokens: Any = None
    priority: Any = None
    client: Any = None
    ttft_slo_s: Any = None
    tpot_slo_s: Any = None
    is_counted: Any = None

    @classmethod
    def from_arrays(
        cls,
        arrival_s: Any,
        prompt_tokens: Any,
        output_tokens: Any,
        *,
        predicted_output_tokens: Any = None,
        priority: Any = None,
        client: Any = None,
        ttft_slo_s: Any = None,
        tpot_slo_s: Any = None,
        is_counted: Any = None,
    ) -> Requests:
        """Build requests, checking every value on the host.

        Args:
          arrival_s: finite numbers >= 0, ascending: ``[n]`` for one stream, ``[.., n]`` for
            several.
          prompt_tokens: integers >= 1, the same shape.
          output_tokens: integers >= 1, the same shape.
          predicted_output_tokens: numbers, the same shape: floats, zero and predictions above
            the cache are all taken.
          priority: integers or floats, the same shape.
          client: integers >= 0, the same shape.
          ttft_slo_s: seconds > 0, one for all or the same shape; infinite for no target.
          tpot_slo_s: likewise.
          is_counted: truth values, the same shape; False leaves a request out of metrics.

        Returns:
          The requests; all are real.

        Raises:
          ValueError: shapes disagree, arrivals are not sorted, a length is not an integer >= 1,
            or prompt and output of a request sum to 2^31 tokens or more. The message names
            field, position, value and expectation.

        Example:
          >>> import jaxsched as js
          >>> reqs = js.Requests.from_arrays([0.0, 0.5], [300, 20], [40, 100], ttft_slo_s=0.5)
          >>> reqs.ttft_slo_s.tolist()
          [0.5, 0.5]
        """
        refuse_traced(
            "from_arrays checks values",
            "build the requests outside, or js.Requests(...) from arrays you trust",
            (arrival_s, prompt_tokens, output_tokens, predicted_output_tokens),
            (priority, client, ttft_slo_s, tpot_slo_s, is_counted),
        )
        arrival = real_numbers("arrival_s", arrival_s)
        return _validated(
            arrival_s=arrival,
            prompt_tokens=whole_numbers("prompt_tokens", prompt_tokens),
            output_tokens=whole_numbers("output_tokens", output_tokens),
            is_real=np.ones(arrival.shape, bool),
            predicted_output_tokens=predicted_output_tokens,
            priority=priority,
            client=client,
            ttft_slo_s=ttft_slo_s,
            tpot_slo_s=tpot_slo_s,
            is_counted=is_counted,
        )

    @classmethod
    def of_backlog(cls, inst: Instance) -> Requests:
        """Have the requests of a backlog arrive at second 0; see :meth:`Instance.as_requests`.

        Args:
          inst: the instance, ``[.., n]``.
        """
        with jax.enable_x64(True):
            arrival_s = jnp.where(inst.is_real, jnp.float64(0.0), jnp.float64(jnp.inf))
        return cls(
            arrival_s=arrival_s,
            prompt_tokens=inst.prompt_tokens,
            output_tokens=inst.output_tokens,
            is_real=inst.is_real,
        )

    def as_backlog(self, kv_capacity: Any) -> Instance:
        """Leave the arrival times out: all requests wait at round 0.

        Args:
          kv_capacity: tokens the cache holds: one integer, or one for each stream ``[..]``.

        Returns:
          The :class:`~jaxsched.Instance`.

        Raises:
          ValueError: a request cannot fit the cache even alone.

        Example:
          >>> import jaxsched as js
          >>> js.Requests.from_arrays([0.0, 0.5], [300, 20], [40, 100]).as_backlog(500)
          Instance(n=2, kv_capacity=500)
        """
        inst = Instance.from_lengths(
            self.prompt_tokens, self.output_tokens, kv_capacity=kv_capacity
        )
        return dataclasses.replace(inst, is_real=jnp.asarray(self.is_real, bool))

    @property
    def num_requests(self) -> jax.Array:
        """Real requests in each stream, int32 ``[..]``."""
        return jnp.sum(self.is_real, axis=-1, dtype=jnp.int32)

    def to_pandas(self) -> pd.DataFrame:
        """One row a real request: stream, request, and every field that is there."""
        columns = {name: value for name, value in self._fields().items() if name != "is_real"}
        return request_table(self.is_real, **columns).rename(columns={"instance": "stream"})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the requests to ``path``; :meth:`load` reads them back to the bit.

        A name that ends in ``.csv`` asks for a row a request, with a column for each field and of
        several streams ``stream``. One that ends in ``.json`` asks for an object with a list for
        each field. Any other asks for npz.

        Args:
          path: the file, named as it is (nothing is appended).

        Raises:
          ValueError: CSV is asked for several leading axes.
        """
        save_fields(path, "Requests", self._fields())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Requests:
        """Read what :meth:`save` wrote, with the checks of :meth:`from_arrays`.

        Args:
          path: the file.

        Raises:
          ValueError: the file is damaged or holds something else; the message names it, and of
            CSV and JSON the line.
          OSError: it cannot be opened.
        """
        arrays = load_fields(path, "Requests", _REQUIRED, _OPTIONAL)
        with arrays.located():
            reqs = _validated(**arrays)
            require_padding(arrays["is_real"], reqs.prompt_tokens, reqs.output_tokens)
        return reqs

    def _fields(self) -> dict[str, Any]:
        """Fields that are there, by name."""
        named = {name: getattr(self, name) for name in (*_REQUIRED, *_OPTIONAL)}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def _leading(self) -> tuple[int, ...]:
        return tuple(self.is_real.shape[:-1])

    def __repr__(self) -> str:
        """Shapes and a summary only: also readable for a tracer or a million requests."""
        shape = shape_text(self.prompt_tokens)
        if shape is None:
            return leaves_text("Requests", self._fields())
        parts = [shape]
        if are_numbers(self.is_real, self.arrival_s) and np.any(self.is_real):
            real = np.asarray(self.is_real)
            if not real.all():
                parts.append(f"num_requests={span(real.sum(axis=-1))}")
            arrival = np.asarray(self.arrival_s)[real]
            parts.append(f"arrival_s={arrival.min():.6g}..{arrival.max():.6g}")
        parts += [name for name in _OPTIONAL if getattr(self, name) is not None]
        return f"Requests({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """How many arrive in what time, and how long they are, for notebooks."""
        if not are_numbers(*self._fields().values()) or not np.any(self.is_real):
            return text_html(repr(self))
        real = np.asarray(self.is_real)
        arrival = np.where(real, self.arrival_s, np.nan)
        duration_s = np.nanmax(arrival) - np.nanmin(arrival)
        streams = f"{real[..., 0].size} streams of " if real.ndim > 1 else ""
        padding = np.count_nonzero(~real)
        return summary_html(
            f"{streams}{span(real.sum(axis=-1))} requests over {duration_s:,.4g} s",
            corner="tokens",
            rows={
                "prompt": np.asarray(self.prompt_tokens)[real],
                "output": np.asarray(self.output_tokens)[real],
            },
            caption=f"rows of padding, not counted: {padding}" if padding else "",
        )


def _validated(
    arrival_s: np.ndarray,
    prompt_tokens: np.ndarray,
    output_tokens: np.ndarray,
    is_real: np.ndarray,
    **optional: Any,
) -> Requests:
    shape = arrival_s.shape
    require_some("arrival_s", shape)
    for field, array in {
        "prompt_tokens": prompt_tokens,
        "output_tokens": output_tokens,
        "is_real": is_real,
    }.items():
        require_shape(field, array, shape, like="arrival_s")
    is_bad = is_real & ~(np.isfinite(arrival_s) & (arrival_s >= 0))
    reject("arrival_s", arrival_s, is_bad, "expected finite seconds >= 0")
    falls = np.zeros(shape, bool)
    falls[..., 1:] = arrival_s[..., 1:] < arrival_s[..., :-1]
    reject("arrival_s", arrival_s, falls, "expected ascending seconds; sort the rows by arrival")
    prompt_tokens, output_tokens = compact(prompt_tokens), compact(output_tokens)
    require_tokens("prompt_tokens", prompt_tokens)
    require_tokens("output_tokens", output_tokens)
    if (position := first_true(prompt_tokens > MAX_INT32 - output_tokens)) is not None:
        total = int(prompt_tokens[position]) + int(output_tokens[position])
        name = "prompt_tokens + output_tokens"
        raise InputError(name, total, "expected less than 2^31", position)
    if not is_real.all():
        arrival_s = np.where(is_real, arrival_s, np.inf)
    with jax.enable_x64(True):
        arrival = jax.device_put(arrival_s, may_alias=False)  # the caller may change theirs
    return Requests(
        arrival_s=arrival,
        prompt_tokens=tokens_on_device(prompt_tokens),
        output_tokens=tokens_on_device(output_tokens),
        is_real=jnp.asarray(is_real, bool),
        **{name: _CHECKED[name](name, value, shape) for name, value in optional.items()},
    )


def _prediction(field: str, values: Any, shape: tuple[int, ...]) -> jax.Array | None:
    if values is None:
        return None
    array = predictions(field, values)
    require_shape(field, array, shape, like="arrival_s")
    return _float32(array)


def _float32(array: np.ndarray) -> jax.Array:
    """Put numbers on the device, those above the largest float32 as infinity."""
    with np.errstate(over="ignore"):
        return jnp.asarray(array.astype(np.float32))


def _priority(field: str, values: Any, shape: tuple[int, ...]) -> jax.Array | None:
    if values is None:
        return None
    array = np.asarray(values)
    real_numbers(field, array)
    require_shape(field, array, shape, like="arrival_s")
    with jax.enable_x64(True):  # compared in its own dtype
        return jnp.asarray(array)


def _client(field: str, values: Any, shape: tuple[int, ...]) -> jax.Array | None:
    if values is None:
        return None
    array = whole_numbers(field, values)
    require_shape(field, array, shape, like="arrival_s")
    reject(field, array, (array < 0) | (array > MAX_INT32), "expected an integer from 0")
    return jnp.asarray(array, jnp.int32)


def _target(field: str, values: Any, shape: tuple[int, ...]) -> jax.Array | None:
    if values is None:
        return None
    array = real_numbers(field, values)
    if array.shape not in ((), shape):
        raise wrong_shape(field, array.shape, f"expected one number, or one a request {shape}")
    reject(field, array, ~(array > 0), "expected seconds > 0, or infinity for no target")
    return _float32(np.broadcast_to(array, shape))


def _flag(field: str, values: Any, shape: tuple[int, ...]) -> jax.Array | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.dtype.kind not in BOOLS:
        raise wrong_dtype(field, array.dtype, "expected truth values")
    require_shape(field, array, shape, like="arrival_s")
    return jnp.asarray(array, bool)


_CHECKED = {
    "predicted_output_tokens": _prediction,
    "priority": _priority,
    "client": _client,
    "ttft_slo_s": _target,
    "tpot_slo_s": _target,
    "is_counted": _flag,
}
