"""Backlogs or streams of unlike length side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError
from jaxsched.model.instance import Instance
from jaxsched.model.requests import Requests

T = TypeVar("T", Instance, Requests)

#: What padding holds; any other field holds zeros.
_FILLERS = {"prompt_tokens": 1, "output_tokens": 1, "arrival_s": np.inf, "weight": 1.0}
_OF_INSTANCE = ("kv_capacity",)


def stack(instances: Sequence[T]) -> T:
    """Put instances, or requests, side by side, padding them to a common n.

    Padding rows hold prompt = output = 1 with ``is_real`` False and take no part in any
    simulation or metric.

    Args:
      instances: of one kind, each ``[n_k]``, or all ``[.., n_k]`` with equal leading axes.

    Returns:
      One of that kind, ``[len(instances), .., max n_k]``.

    Raises:
      ValueError: there are none, they are of several kinds or have different fields, or their
        leading axes differ.

    Example:
      >>> import jaxsched as js
      >>> one = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> two = js.Instance.from_lengths([5], [1], kv_capacity=9)
      >>> js.stack([one, two]).is_real.tolist()
      [[True, True], [True, False]]
    """
    refuse_traced("stack pads on the host", "call it outside", instances)
    if not instances:
        raise ValueError("stack needs at least one instance")
    first = instances[0]
    names = _fields_there(first)
    leading = np.shape(first.is_real)[:-1]
    for position, inst in enumerate(instances):
        if type(inst) is not type(first) or _fields_there(inst) != names:
            raise InputError(
                "instances",
                inst,
                f"expected {type(first).__name__} with the fields {', '.join(names)}, as the first",
                (position,),
            )
        if (shape := np.shape(inst.is_real)[:-1]) != leading:
            raise ValueError(
                f"instances[{position}] has leading axes {shape}, instances[0] has {leading}; "
                "stack takes instances whose leading axes are equal"
            )
    n = max(inst.is_real.shape[-1] for inst in instances)

    def joined(name: str) -> jax.Array:
        parts = [np.asarray(getattr(inst, name)) for inst in instances]
        if name not in _OF_INSTANCE:
            parts = [_padded(part, n, _FILLERS.get(name, 0)) for part in parts]
        with jax.enable_x64(True):  # the fields keep their own dtypes
            return jnp.asarray(np.stack(parts))

    return dataclasses.replace(first, **{name: joined(name) for name in names})


def _padded(part: np.ndarray, n: int, filler: Any) -> np.ndarray:
    width = [(0, 0)] * (part.ndim - 1) + [(0, n - part.shape[-1])]
    return np.pad(part, width, constant_values=filler)


def _fields_there(inst: Any) -> list[str]:
    named = (field.name for field in dataclasses.fields(inst))
    return [name for name in named if getattr(inst, name) is not None]
