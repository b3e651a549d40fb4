"""Checks of what users hand in, on the host: every value, named by field and position."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxsched._lib.errors import MAX_INT32, InputError, reject, wrong_dtype, wrong_shape

_MAX_INT64 = np.uint64(2**63 - 1)

#: What padding holds; any other field holds zeros.
FILLERS = {
    "prompt_tokens": 1,
    "output_tokens": 1,
    "arrival_s": np.inf,
    "ttft_slo_s": np.inf,
    "tpot_slo_s": np.inf,
    "weight": 1.0,
}


def whole_numbers(field: str, values: Any) -> np.ndarray:
    """``values`` as they are if int32, else as int64; an error names the first not whole."""
    array = _array(field, values)
    if array.dtype.kind in "iu":
        return compact(array)
    if array.dtype.kind != "f":
        raise wrong_dtype(field, array.dtype)
    with np.errstate(invalid="ignore"):
        is_whole = np.isfinite(array) & (array == np.floor(array)) & (np.abs(array) < 2.0**62)
    reject(field, array, ~is_whole, "expected an integer >= 1")
    return array.astype(np.int64)


def compact(integers: np.ndarray) -> np.ndarray:
    """Integers as int64, int32 not copied: of 27 million requests each copy takes 200 MB.

    Those beyond int64 stay what they are, for a check to name.
    """
    if integers.dtype == np.uint64 and (integers > _MAX_INT64).any():
        return integers
    return integers if integers.dtype == np.int32 else integers.astype(np.int64, copy=False)


def tokens_on_device(tokens: np.ndarray) -> jax.Array:
    """Put counts that were checked on the device, as int32 of its own: callers change theirs."""
    return jax.device_put(tokens.astype(np.int32, copy=False), may_alias=False)


def real_numbers(field: str, values: Any) -> np.ndarray:
    """``values`` as float64, not copied if they are; an error says that they are no numbers."""
    array = _array(field, values)
    if array.dtype.kind not in "iuf":
        raise wrong_dtype(field, array.dtype, "expected numbers")
    return array.astype(np.float64, copy=False)


def predictions(field: str, values: Any) -> np.ndarray:
    """``values`` as predicted tokens in float64; an error names the first that is none."""
    array = real_numbers(field, values)
    reject(field, array, ~(array >= 0), "expected a number >= 0")
    return array


def require_shape(field: str, array: np.ndarray, shape: tuple[int, ...], like: str) -> None:
    """Raise unless ``array`` has the shape of the field ``like``."""
    if array.shape != shape:
        raise wrong_shape(field, array.shape, beside=f"{like} has {shape}")


def require_some(field: str, shape: tuple[int, ...]) -> None:
    """Raise unless a shape ``[.., n]`` holds at least one request."""
    if not shape or 0 in shape:
        raise wrong_shape(field, shape, "expected [.., n] with n >= 1 requests")


def require_tokens(field: str, array: np.ndarray) -> None:
    """Raise for the first entry that is no count of tokens of int32."""
    reject(field, array, array < 1, "expected an integer >= 1")
    reject(field, array, array > MAX_INT32, "expected an integer below 2^31")


def require_padding(is_real: np.ndarray, prompt_tokens: Any, output_tokens: Any) -> None:
    """Raise unless padding holds 1 token each way."""
    for field, tokens in {"prompt_tokens": prompt_tokens, "output_tokens": output_tokens}.items():
        array = np.asarray(tokens)
        reject(field, array, ~is_real & (array != 1), "expected 1 where is_real is False")


def _array(field: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:  # nested lists of unlike length
        raise InputError(
            field, "", "build one a backlog or stream and join them with stack", finding="is ragged"
        ) from error
