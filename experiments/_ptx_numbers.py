"""What a register of PTX holds, and what becomes of it as a number of some type.

A register in which all lanes of a warp agree holds an int, others an array of a number a lane:
int32 or int64, which are the bits of what floats there are, or bool for predicates.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

INTEGER = {
    "add": operator.add,
    "sub": operator.sub,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "shl": operator.lshift,
    "shr": operator.rshift,
    "max": np.maximum,
    "min": np.minimum,
}
FLOATING = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "rcp": np.reciprocal,
    "sqrt": np.sqrt,
    "max": np.fmax,
    "min": np.fmin,
    "max.NaN": np.maximum,
    "min.NaN": np.minimum,
    "copysign": lambda sign, size: np.copysign(size, sign),
}
COMPARE = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
COMPARE_FLOATS = COMPARE | {
    "ne": lambda x, y: (x < y) | (x > y),  # not so for NaN
    "neu": operator.ne,
    "gtu": lambda x, y: np.logical_not(x <= y),
    "nan": lambda x, y: np.isnan(x) | np.isnan(y),
    "num": lambda x, y: np.logical_not(np.isnan(x) | np.isnan(y)),
}


def is_floating(type: str) -> bool:
    return type in ("f32", "f64")


def literal(text: str) -> int:
    """Read a number; of a float, its bits."""
    if text[:2] in ("0d", "0f"):
        return stored(int(text[2:], 16), {"0d": "b64", "0f": "b32"}[text[:2]])
    return int(text, 0)


def typed(value: Any, type: str) -> Any:
    """Read what a register holds, as unsigned or floating where the type is."""
    if is_floating(type):
        bits = value if isinstance(value, np.ndarray) else bits_of(type)(value)
        return bits.view(f"f{bits.itemsize}")
    if type not in ("u32", "u64"):
        return value
    is_array = isinstance(value, np.ndarray)
    return value.view(f"u{value.itemsize}") if is_array else value % 2 ** int(type[1:])


def stored(value: Any, type: str) -> Any:
    """Hold a result in a register: as a signed number, wrapped, and a float as its bits."""
    if type == "pred":
        return value
    if isinstance(value, np.ndarray):
        bits = np.dtype(bits_of(type))
        return value.view(bits) if value.itemsize == bits.itemsize else value.astype(bits)
    if is_floating(type):
        return int(value.view(bits_of(type)))
    half = 2 ** (int(type[1:]) - 1)
    return (int(value) + half) % (2 * half) - half


def bits_of(type: str) -> Any:
    """Name the dtype of a type's bits."""
    return np.int64 if type.endswith("64") else np.int32


def converted(value: Any, words: tuple[str, ...]) -> Any:
    """Convert from the type that stands last to the one before; the rounding stands first."""
    target, source = words[-2:]
    if is_floating(target):
        whole = np.floor(value) if words[0] == "rmi" else value
        return np.asarray(whole).astype(f"f{int(target[1:]) // 8}")[()]
    if not is_floating(source):
        return value
    if words[0] != "rzi" or target[0] != "s":
        raise NotImplementedError(".".join(("cvt", *words)))
    limits = np.iinfo(bits_of(target))
    of_nan = limits.min if "64" in target + source else 0
    whole = np.trunc(np.asarray(value, np.float64))
    is_above, is_below = whole > limits.max, whole < limits.min
    inside = np.where(is_above | is_below | np.isnan(whole), 0, whole).astype(np.int64)
    found = np.select(
        [is_above, is_below, np.isnan(whole)], [limits.max, limits.min, of_nan], inside
    )
    return found if isinstance(value, np.ndarray) else int(found)
