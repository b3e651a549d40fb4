"""Checks of workload arguments, on the host."""

from __future__ import annotations

from jaxsched._lib.errors import MAX_INT32, InputError, integer


def count(name: str, value: int) -> int:
    """Take ``value`` as an int from 1 to 2^31 - 1."""
    return integer(name, value, 1, MAX_INT32)


def leading(batch: int | None) -> tuple[int, ...]:
    """Name the leading axes that ``batch`` asks for: none, or one."""
    return () if batch is None else (count("batch", batch),)


def shape(num_requests: int, batch: int | None, max_output: int) -> tuple[int, ...]:
    """Make ``[n]`` or ``[B, n]``, where n outputs of ``max_output`` tokens cannot overflow."""
    n = count("num_requests", num_requests)
    if n * max_output >= MAX_INT32:
        raise InputError(
            "num_requests",
            n,
            f"expected at most {(MAX_INT32 - 1) // max_output}: with outputs of up to "
            f"{max_output} tokens more might take 2^31 - 1 rounds",
        )
    return (*leading(batch), n)


def capacity(kv_capacity: int, max_size: int) -> int:
    """Take ``kv_capacity`` as an int that holds the largest request a workload draws."""
    tokens = count("kv_capacity", kv_capacity)
    if tokens < max_size:
        raise InputError(
            "kv_capacity",
            tokens,
            f"expected at least {max_size}, the tokens of the largest request this workload draws",
        )
    return tokens
