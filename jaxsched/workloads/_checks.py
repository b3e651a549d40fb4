"""Checks of workload arguments, on the host."""

from __future__ import annotations

import operator

from jaxsched.model.instance import MAX_INT32


def count(name: str, value: int) -> int:
    """Take ``value`` as an int from 1 to 2^31 - 1."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if not 1 <= number <= MAX_INT32:
        raise ValueError(f"{name} is {value!r}; expected an integer from 1 to 2^31 - 1")
    return number


def leading(batch: int | None) -> tuple[int, ...]:
    """Name the leading axes that ``batch`` asks for: none, or one."""
    return () if batch is None else (count("batch", batch),)


def shape(num_requests: int, batch: int | None, max_output: int) -> tuple[int, ...]:
    """Make ``[n]`` or ``[B, n]``, where n outputs of ``max_output`` tokens cannot overflow."""
    n = count("num_requests", num_requests)
    if n * max_output >= MAX_INT32:
        raise ValueError(
            f"num_requests is {n}; expected at most {(MAX_INT32 - 1) // max_output}: with outputs "
            f"of up to {max_output} tokens more might take 2^31 - 1 rounds"
        )
    return (*leading(batch), n)


def capacity(kv_capacity: int, max_size: int) -> int:
    """Take ``kv_capacity`` as an int that holds the largest request a workload draws."""
    tokens = count("kv_capacity", kv_capacity)
    if tokens < max_size:
        raise ValueError(
            f"kv_capacity is {tokens}; expected at least {max_size}, the tokens of the largest "
            "request this workload draws"
        )
    return tokens
