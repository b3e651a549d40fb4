"""Plain Python gives what the operations give, one by one, on ordinary and on extreme numbers."""

import ctypes
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched._lib.rowwise import is_rowwise
from jaxsched._lib.scalar_python import NotScalar, scalar_python

# No quotient is so small that XLA on a CPU would take it for 0.
REALS = np.float32([0.0, -0.0, 1.0, -1.5, 2.5, 3.0, 1e-3, -40.0, 88.0, 1e30, -1e20, math.inf,
                    -math.inf, math.nan])  # fmt: skip
WHOLE = np.int32([0, 1, -1, 2, -7, 9, 1000, 2**31 - 1, -(2**31)])

pytestmark = pytest.mark.jax_defaults


def in_python(function, *columns):
    """What the written-out function gives for each row, and its type."""
    program = jax.make_jaxpr(function)(*columns)
    assert is_rowwise(program, len(columns[0]))
    names = ["a", "b"][: len(columns)]
    scalars = scalar_python(program, names)
    lines = "\n    ".join([*scalars.lines, f"return {scalars.result}"])
    found = {"math": math, "ctypes": ctypes}
    exec(f"{scalars.helpers}\n\ndef run({', '.join(names)}):\n    {lines}", found)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return np.array([found["run"](*row) for row in rows]), scalars.dtype


def pairs(values):
    return np.repeat(values, len(values)), np.tile(values, len(values))


EXACT_ON_REALS = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / b,
    "larger": jnp.maximum,
    "smaller": jnp.minimum,
    "chosen": lambda a, b: jnp.where(a < b, a, -b),
    "compared": lambda a, b: ((a <= b) & (a != 1)) | ~(b > a) ^ (a == b),
    "remainder": jax.lax.rem,
    "clamped": lambda a, b: jnp.clip(a, -2, 3) + jnp.sign(b),
    "rounded": lambda a, b: jnp.floor(a) + jnp.ceil(b) * jnp.round(a),
    "converted": lambda a, b: a.astype(jnp.int32) + b.astype(jnp.bool_),
    "finite": lambda a, b: jnp.isfinite(a) & (jnp.abs(b) > 1),
    "shares": lambda a, b: a / jnp.float32(7.0) - b / 3,
    "powers": lambda a, b: a**2 - jnp.square(b) + 1 / a,
}
EXACT_ON_WHOLE = {
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * b - 1,
    "quotient": jax.lax.div,
    "remainder": jax.lax.rem,
    "bits": lambda a, b: (a & b) | (a ^ ~b),
    "cube": lambda a, b: a**3 - b,
    "sizes": lambda a, b: jnp.abs(a) + jnp.sign(b) - jnp.maximum(a, -b),
    "to reals": lambda a, b: a.astype(jnp.float32) / b,
    "unsigned": lambda a, b: a.astype(jnp.uint32) * b.astype(jnp.uint32),
}
NEARLY = {
    "log": jnp.log,
    "log1p": jnp.log1p,
    "exp": jnp.exp,
    "expm1": jnp.expm1,
    "sqrt": lambda a: jnp.sqrt(jnp.abs(a)) + jax.lax.rsqrt(a),
    "tanh": jnp.tanh,
    "logistic": jax.nn.sigmoid,
    "power": lambda a: jnp.abs(a) ** 0.7,
    "sine": jnp.sin,
}


@pytest.mark.parametrize("name", EXACT_ON_REALS)
def test_reals_to_the_bit(name):
    check(EXACT_ON_REALS[name], *pairs(REALS), ulp=0)


@pytest.mark.parametrize("name", EXACT_ON_WHOLE)
def test_whole_numbers_to_the_bit(name):
    check(EXACT_ON_WHOLE[name], *pairs(WHOLE), ulp=0)


@pytest.mark.parametrize("name", NEARLY)
def test_other_functions_nearly(name):
    check(NEARLY[name], REALS, ulp=8)


def check(function, *columns, ulp):
    with np.errstate(all="ignore"):
        expected = np.asarray(function(*map(jnp.asarray, columns)))
    found, dtype = in_python(function, *columns)
    assert dtype == expected.dtype.name
    if dtype != "float32":
        np.testing.assert_array_equal(found, expected)
        return
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    near = np.abs(places(found) - places(expected)) <= ulp
    assert near.all(), (found[~near], expected[~near])


def places(reals):
    """Where reals stand among all of 32 bits; those that are NaN, at 0."""
    bits = np.where(np.isnan(reals), 0, reals).astype(np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def test_only_what_the_result_needs_is_written():
    def wasteful(a, b):
        jnp.exp(b)
        return a + a * 2

    scalars = scalar_python(jax.make_jaxpr(wasteful)(REALS, REALS), ["a", "b"])
    assert scalars.reads == {"a"}
    assert "exp" not in scalars.helpers + "".join(scalars.lines)


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda a: jax.lax.nextafter(a, a), "nextafter"),
        (lambda a: a.astype(jnp.bfloat16) + 1, "bfloat16"),
        (lambda a: jax.lax.select_n(a.astype(jnp.int32), a, a, a), "jnp.where"),
    ],
)
def test_what_is_not_written_out_is_named(function, what):
    with pytest.raises(NotScalar, match=what):
        scalar_python(jax.make_jaxpr(function)(REALS), ["a"])
