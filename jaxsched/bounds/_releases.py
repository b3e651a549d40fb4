"""Rounds before which requests cannot start, checked, and counted from the first of them.

Flow time does not change when all releases shift, so every bound counts from the first one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxsched._lib.arrays import is_traced, namespace, on_host
from jaxsched._lib.errors import reject, wrong_dtype, wrong_shape
from jaxsched.model.instance import MAX_INT32, Instance


def checked_releases(inst: Instance, release_rounds: Any) -> Any:
    """Give ``release_rounds`` the shape of the requests; traced ones are not looked at.

    Returns:
      int64 ``[.., n]`` of numpy, or what was traced, ``[.., n]``.

    Raises:
      ValueError: they are not whole rounds from 0 for each request, or too late to be counted.
    """
    shape = tuple(inst.prompt_tokens.shape)
    given = np.asarray(release_rounds) if not is_traced(release_rounds) else release_rounds
    if given.dtype.kind not in "iu":
        raise wrong_dtype("release_rounds", given.dtype, "expected whole rounds")
    if given.shape not in (shape, shape[-1:]):
        raise wrong_shape(
            "release_rounds", given.shape, f"expected one round a request, {shape[-1:]} or {shape}"
        )
    if is_traced(inst, given):
        return namespace(given).broadcast_to(given, shape)
    inst = on_host(inst)
    rounds = np.broadcast_to(given.astype(np.int64), shape)
    reject("release_rounds", rounds, inst.is_real & (rounds < 0), "expected a round >= 0")
    output = np.where(inst.is_real, inst.output_tokens, 0).sum(axis=-1, dtype=np.int64)
    reject(
        "release_rounds",
        rounds,
        inst.is_real & (rounds + output[..., None] >= MAX_INT32),
        "expected so few that with all outputs they sum to less than 2^31 - 1 rounds; "
        "subtract the first release from all, or split the stream",
    )
    return rounds


def from_the_first(is_real: Any, rounds: Any) -> tuple[Any, Any]:
    """Split releases ``[.., n]`` into the first of each instance and the rounds after it.

    Returns:
      int64 ``[..]``, 0 where there are no requests, and int64 ``[.., n]``, 0 for padding.
    """
    xp = namespace(rounds)
    rounds = rounds.astype(xp.int64)
    first = xp.min(xp.where(is_real, rounds, MAX_INT32), axis=-1)
    first = xp.where(is_real.any(axis=-1), first, 0)
    return first, xp.where(is_real, rounds - first[..., None], 0)


def releases_on_host(inst: Instance, release_rounds: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Check releases, None for all 0, and count them from the first, as numpy arrays.

    Returns:
      The first of each instance, int64 ``[..]``; and int64 ``[.., n]`` after it, or None where
      all requests of each instance are released at once.
    """
    if release_rounds is None:
        return np.zeros(inst.prompt_tokens.shape[:-1], np.int64), None
    first, after = from_the_first(np.asarray(inst.is_real), checked_releases(inst, release_rounds))
    return first, after if after.any() else None
