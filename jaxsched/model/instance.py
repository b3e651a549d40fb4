"""A backlog of requests and the KV cache it has to fit through."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsched._lib.arrays import masked, namespace, refuse_traced
from jaxsched._lib.errors import (
    MAX_INT32,
    InputError,
    first_true,
    index_text,
    reject,
    wrong_shape,
)
from jaxsched._lib.npz import BOOLS, FLOATS, INTEGERS
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

if TYPE_CHECKING:
    import pandas as pd

    from jaxsched.model.requests import Requests

_FIELDS = {
    "prompt_tokens": INTEGERS,
    "output_tokens": INTEGERS,
    "is_real": BOOLS,
    "kv_capacity": INTEGERS,
}
_OPTIONAL = {"weight": FLOATS}


@exported
@pytree
class Instance(Batched):
    r"""Requests that are all waiting at round 0, and the KV capacity that serves them.

    Request :math:`i` has a prompt of :math:`s_i \ge 1` tokens and produces
    :math:`o_i \ge 1` output tokens; the cache holds :math:`M \ge s_i + o_i` tokens.

    Build one with :meth:`from_lengths`, which validates; the constructor does not, so that
    instances can pass through ``jit`` and ``vmap``.

    Attributes:
      prompt_tokens: int32 ``[.., n]``, :math:`s_i`.
      output_tokens: int32 ``[.., n]``, :math:`o_i`.
      is_real: bool ``[.., n]``; False marks padding, which holds 1 token each way.
      kv_capacity: int32 ``[..]``, :math:`M` in tokens.
      weight: float32 ``[.., n]`` above 0, how much a round of latency counts for the request; 1
        for padding. None: all alike.

    Example:
      >>> import jaxsched as js
      >>> js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      Instance(n=2, kv_capacity=8)
    """

    prompt_tokens: jax.Array
    output_tokens: jax.Array
    is_real: jax.Array
    kv_capacity: jax.Array
    weight: jax.Array | None = None

    @classmethod
    def from_lengths(
        cls, prompt_tokens: Any, output_tokens: Any, *, kv_capacity: Any, weight: Any = None
    ) -> Instance:
        """Build an instance from request lengths, checking every value on the host.

        Inside ``jit`` or ``vmap``, where there are no values yet, it raises.

        Args:
          prompt_tokens: integers >= 1, ``[n]`` for one instance or ``[.., n]`` for several.
          output_tokens: integers >= 1, the same shape.
          kv_capacity: tokens the cache holds: one integer, or one for each instance ``[..]``.
          weight: finite numbers > 0, the shape of the lengths: how much a round of latency counts.
            Such as ``np.array([3.0, 1.0])[client]``. None for all alike.

        Returns:
          The instance; every request is real.

        Raises:
          TypeError: an argument is traced.
          ValueError: a length is not an integer >= 1, a weight is not a finite number > 0, a
            request cannot fit the cache even alone, shapes disagree, there are no requests, or
            one instance's outputs sum to 2^31 - 1 tokens or more (its rounds could not be counted
            in int32). The message names field, position and value.

        Example:
          >>> import jaxsched as js
          >>> js.Instance.from_lengths([[3, 1], [2, 2]], [[2, 4], [1, 1]], kv_capacity=[8, 5])
          Instance(leading=(2,), n=2, kv_capacity=5..8)
        """
        refuse_traced(
            "from_lengths checks values",
            "build the instance outside, or js.Instance(...) from arrays you trust",
            (prompt_tokens, output_tokens, kv_capacity, weight),
        )
        prompt = whole_numbers("prompt_tokens", prompt_tokens)
        return _validated(
            prompt,
            whole_numbers("output_tokens", output_tokens),
            np.ones(prompt.shape, bool),
            whole_numbers("kv_capacity", kv_capacity),
            None if weight is None else real_numbers("weight", weight),
        )

    def as_predicted(self, predicted_output_tokens: Any) -> Instance:
        """Show the backlog as a predictor sees it, for rules; schedules need the true lengths.

        Args:
          predicted_output_tokens: numbers >= 0, ``[n]`` or ``[.., n]``, which may be traced.
            Floats, zeros and predictions above the cache are all taken: they are rounded up, to
            1 token at least and :math:`2^{30}` at most.

        Returns:
          The instance with these outputs ``[.., n]`` instead of its own; padding keeps 1 token.

        Raises:
          ValueError: a prediction is NaN or below 0, or there is not one for each request.

        Example:
          >>> import jaxsched as js
          >>> inst = js.Instance.from_lengths([80, 10, 20], [10, 30, 5], kv_capacity=100)
          >>> seen = inst.as_predicted([9.6, 25.2, 8.0])
          >>> js.simulate(inst, js.prioritize(seen, "shortest_output")).start.tolist()
          [5, 15, 0]
        """
        field = "predicted_output_tokens"
        seen: Any = predicted_output_tokens
        if not isinstance(predicted_output_tokens, Tracer):
            seen = predictions(field, seen)
        require_shape(field, seen, self.output_tokens.shape, like="output_tokens")
        seen = whole_predictions(seen)
        return dataclasses.replace(self, output_tokens=masked(seen, self.is_real, 1))

    @property
    def volume(self) -> jax.Array:
        r"""Memory times time a request takes, float32 ``[.., n]`` in token rounds.

        .. math:: v_i = s_i o_i + \tfrac12 o_i (o_i + 1)
        """
        prompt = self.prompt_tokens.astype(jnp.float32)
        output = self.output_tokens.astype(jnp.float32)
        return prompt * output + 0.5 * output * (output + 1)

    @property
    def num_requests(self) -> jax.Array:
        """Real requests in each instance, int32 ``[..]``."""
        return jnp.sum(self.is_real, axis=-1, dtype=jnp.int32)

    def as_requests(self) -> Requests:
        """Have all requests arrive at second 0, for :func:`jaxsched.serve`.

        Returns:
          The :class:`~jaxsched.Requests`, without the KV capacity, which is a server's.

        Example:
          >>> import jaxsched as js
          >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
          >>> inst.as_requests().arrival_s.tolist()
          [0.0, 0.0]
        """
        from jaxsched.model.requests import Requests

        return Requests.of_backlog(self)

    @property
    def _leading(self) -> tuple[int, ...]:
        return tuple(self.is_real.shape[:-1])

    def to_pandas(self) -> pd.DataFrame:
        """One row a real request: instance, request, lengths, capacity, weight if there is one."""
        columns = {name: value for name, value in self._fields().items() if name != "is_real"}
        return request_table(self.is_real, **columns)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the instance to ``path``; :meth:`load` reads it back to the bit.

        A name that ends in ``.csv`` asks for a row a request, with the columns ``instance`` (of
        several), ``prompt_tokens``, ``output_tokens`` and ``kv_capacity``. One that ends in
        ``.json`` asks for an object with a list for each field. Any other asks for npz.

        Args:
          path: the file, named as it is (nothing is appended).

        Raises:
          ValueError: CSV is asked for several leading axes.
        """
        save_fields(path, "Instance", self._fields())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Instance:
        """Read what :meth:`save` wrote, with the checks of :meth:`from_lengths`.

        Args:
          path: the file.

        Raises:
          ValueError: the file is damaged or holds something else; the message names it, and of
            CSV and JSON the line.
          OSError: it cannot be opened.
        """
        arrays = load_fields(path, "Instance", _FIELDS, _OPTIONAL)
        with arrays.located():
            inst = _validated(**arrays)
            require_padding(arrays["is_real"], inst.prompt_tokens, inst.output_tokens)
        return inst

    def _fields(self) -> dict[str, Any]:
        """Fields that are there, by name."""
        named = {name: getattr(self, name) for name in (*_FIELDS, *_OPTIONAL)}
        return {name: value for name, value in named.items() if value is not None}

    def __repr__(self) -> str:
        """Shapes and a summary only: also readable for a tracer or a million requests."""
        shape = shape_text(self.prompt_tokens)
        if shape is None:
            return leaves_text("Instance", self._fields())
        parts = [shape]
        if are_numbers(self.is_real, self.kv_capacity) and np.size(self.kv_capacity):
            real = np.asarray(self.is_real)  # inside a trace, jax would trace this too
            if not real.all():
                parts.append(f"num_requests={span(real.sum(axis=-1))}")
            parts.append(f"kv_capacity={span(self.kv_capacity)}")
        parts += [name for name in _OPTIONAL if getattr(self, name) is not None]
        return f"Instance({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """How long the requests are, for notebooks."""
        leaves = [getattr(self, name) for name in _FIELDS]
        if not are_numbers(*leaves) or not np.asarray(self.is_real).any():
            return text_html(repr(self))
        prompt, output, real, capacity = map(np.asarray, leaves)
        rows = {"prompt": prompt[real], "output": output[real]}
        rows["prompt + output"] = rows["prompt"].astype(np.int64) + rows["output"]
        padding = np.count_nonzero(~real)
        backlogs = f"{capacity.size} backlogs of " if capacity.ndim else ""
        return summary_html(
            f"{backlogs}{span(real.sum(axis=-1))} requests, {span(capacity)} KV tokens",
            corner="tokens",
            rows=rows,
            caption=f"rows of padding, not counted: {padding}" if padding else "",
        )


def whole_predictions(predicted: Any) -> jax.Array:
    """Predictions as int32 tokens: rounded up, at least one, at most 2^30."""
    with jax.enable_x64(True):
        return jnp.clip(jnp.ceil(jnp.asarray(predicted, jnp.float64)), 1, 2.0**30).astype(jnp.int32)


def exact_volume(inst: Instance) -> Any:
    r"""Memory times time of each request, :math:`s o + o (o + 1) / 2`, int64 ``[.., n]``.

    Padding takes 0. One instance's volumes sum to at most :math:`M \sum o < 2^{62}`. With jax
    arrays it needs ``enable_x64``.
    """
    xp = namespace(inst.prompt_tokens)
    prompt, output = inst.prompt_tokens.astype(xp.int64), inst.output_tokens.astype(xp.int64)
    half = output * (output + 1) >> 1  # numpy divides several times as slowly
    return masked(prompt * output + half, inst.is_real, 0)


def weight_of(inst: Any) -> Any:
    """Weights of the requests of an instance or a queue, float32 ``[.., n]``; 1 where none are."""
    if (weight := getattr(inst, "weight", None)) is not None:
        return weight
    xp = namespace(inst.prompt_tokens)
    return xp.ones(inst.prompt_tokens.shape, xp.float32)


def request_table(is_real: Any, *, kv_capacity: Any = None, **columns: Any) -> pd.DataFrame:
    """Flatten ``[.., n]`` columns to one row a real request, numbered by instance and request."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError('to_pandas needs pandas: pip install "jaxsched[pandas]"') from error
    real = np.asarray(is_real)
    flat = real.reshape(-1, real.shape[-1])
    instance, request = np.nonzero(flat)
    table = {"instance": instance, "request": request}
    if kv_capacity is not None:
        table["kv_capacity"] = np.asarray(kv_capacity).reshape(-1)[instance]
    for name, column in columns.items():
        table[name] = np.asarray(column).reshape(flat.shape)[instance, request]
    return pd.DataFrame(table)


def _validated(
    prompt_tokens: np.ndarray,
    output_tokens: np.ndarray,
    is_real: np.ndarray,
    kv_capacity: np.ndarray,
    weight: np.ndarray | None = None,
) -> Instance:
    shape = prompt_tokens.shape
    require_some("prompt_tokens", shape)
    for field, array in {"output_tokens": output_tokens, "is_real": is_real}.items():
        require_shape(field, array, shape, like="prompt_tokens")
    if kv_capacity.shape not in ((), shape[:-1]):
        raise wrong_shape(
            "kv_capacity",
            kv_capacity.shape,
            f"expected one integer, or one for each instance {shape[:-1]}",
        )
    prompt, output = compact(prompt_tokens), compact(output_tokens)
    capacity = np.broadcast_to(kv_capacity, shape[:-1]).astype(np.int64)
    require_tokens("prompt_tokens", prompt)
    require_tokens("output_tokens", output)
    require_tokens("kv_capacity", kv_capacity)
    _reject_requests_that_never_fit(prompt, output, capacity)
    total = output.sum(axis=-1, dtype=np.int64)
    if (position := first_true(total >= MAX_INT32)) is not None:
        named = f"instance {index_text(position)}" if position else "the instance"
        raise InputError(
            "output_tokens",
            total[position],
            "expected less than 2^31 - 1, the most rounds that int32 counts; split the backlog",
            finding=f"of {named} sum to {total[position]}",
        )
    return Instance(
        prompt_tokens=tokens_on_device(prompt),
        output_tokens=tokens_on_device(output),
        is_real=jnp.asarray(is_real, bool),
        kv_capacity=jnp.asarray(capacity, jnp.int32),
        weight=_checked_weight(weight, is_real),
    )


def _checked_weight(weight: np.ndarray | None, is_real: np.ndarray) -> jax.Array | None:
    if weight is None:
        return None
    require_shape("weight", weight, is_real.shape, like="prompt_tokens")
    with np.errstate(over="ignore", under="ignore"):
        rounded = weight.astype(np.float32)
    is_normal = np.isfinite(rounded) & (rounded >= np.finfo(np.float32).tiny)
    reject("weight", weight, is_real & ~is_normal, "expected a finite number > 0")
    return jnp.asarray(np.where(is_real, rounded, np.float32(1)))


def _reject_requests_that_never_fit(
    prompt: np.ndarray, output: np.ndarray, capacity: np.ndarray
) -> None:
    room = capacity[..., None].astype(prompt.dtype) - prompt  # where a sum might pass int32
    position = first_true(output > room)
    if position is not None:
        *instance, request = position
        size = int(prompt[position]) + int(output[position])
        of_instance = f" of instance {index_text(tuple(instance))}" if instance else ""
        raise InputError(
            f"request {request}{of_instance}",
            size,
            "raise kv_capacity or leave the request out",
            finding=f"needs {size} tokens at its end but kv_capacity is "
            f"{capacity[tuple(instance)]}: it can never run",
        )
