"""Host arithmetic on many instances: exact in int64, one block of instances at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxsched.instance import Instance

_REQUESTS_PER_BLOCK = 2**18  # a few MB for each int64 temporary


def exact_volume(inst: Instance) -> np.ndarray:
    r"""Memory times time of each request, :math:`s o + o (o + 1) / 2`, int64 ``[.., n]``.

    Padding takes 0. One instance's volumes sum to at most :math:`M \sum o < 2^{62}`.
    """
    prompt = np.asarray(inst.prompt_tokens, np.int64)
    output = np.asarray(inst.output_tokens, np.int64)
    return np.where(inst.is_real, prompt * output + output * (output + 1) // 2, 0)


def map_instances(function: Callable[..., Any], inst: Instance, *others: Any) -> Any:
    """Apply ``function`` to blocks of instances, so that its temporaries stay small.

    Args:
      function: given blocks ``[rows, ..]`` of ``inst`` and ``others`` (numpy leaves), returns
        an array ``[rows, ..]`` or a dict of such arrays.
      inst: the instances, ``[.., n]``; they set the leading axes.
      others: pytrees whose leaves have the same leading axes.

    Returns:
      What ``function`` returns, joined, with the leading axes put back.
    """
    leading, n = inst.prompt_tokens.shape[:-1], inst.prompt_tokens.shape[-1]
    rows = math.prod(leading)
    flat = jax.tree.map(
        lambda leaf: np.asarray(leaf).reshape(rows, *np.shape(leaf)[len(leading) :]),
        (inst, *others),
    )
    size = max(1, _REQUESTS_PER_BLOCK // n)
    return _joined([function(*block) for block in _blocks(flat, rows, size)], leading)


def _blocks(tree: Any, rows: int, size: int) -> Iterator[Any]:
    for first in range(0, max(rows, 1), size):
        here = slice(first, first + size)
        yield jax.tree.map(lambda leaf, here=here: leaf[here], tree)


def _joined(parts: list[Any], leading: tuple[int, ...]) -> Any:
    if isinstance(parts[0], dict):  # by hand: a jax tree would sort the keys
        return {key: _joined([part[key] for part in parts], leading) for key in parts[0]}
    return np.concatenate(parts).reshape(leading + parts[0].shape[1:])
