"""Programs that treat every row alike, so that they may run on any rows at any width.

Such a program takes scalars and arrays ``[n]``, and each row of its results depends on that row
and the scalars alone. Whether a program is one follows from what jax traced: all it does is
arithmetic, element by element.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

# fmt: off
_ARITHMETIC = frozenset((
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "cbrt", "ceil", "clamp", "cos", "cosh", "convert_element_type", "copy", "digamma", "div",
    "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow",
    "is_finite", "le", "lgamma", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne",
    "neg", "nextafter", "not", "or", "pow", "rem", "round", "rsqrt", "select_n", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square",
    "stop_gradient", "sub", "tan", "tanh", "xor",
))
# fmt: on
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


def is_rowwise(program: Any, n: int) -> bool:
    """Whether a closed jaxpr treats every row alike.

    Args:
      program: of scalars and arrays ``[n]``.
      n: rows, at least 2.
    """
    return all(jnp.ndim(const) == 0 for const in program.consts) and _is_plain(program.jaxpr, n)


def on_rows(program: Any, arguments: list[jax.Array]) -> list[jax.Array]:
    """Run a program that :func:`is_rowwise` on arguments of one shape, scalars spread too."""
    shape = arguments[0].shape
    consts = [jnp.broadcast_to(const, shape) for const in program.consts]
    return _run(program.jaxpr, consts, arguments)


def _is_plain(jaxpr: Any, n: int) -> bool:
    variables = [*jaxpr.invars, *jaxpr.constvars, *jaxpr.outvars]
    variables += [var for eqn in jaxpr.eqns for var in (*eqn.invars, *eqn.outvars)]
    if any(var.aval.shape not in ((), (n,)) for var in variables):
        return False
    return all(_is_arithmetic(eqn, n) for eqn in jaxpr.eqns)


def _is_arithmetic(eqn: Any, n: int) -> bool:
    name = eqn.primitive.name
    if name in CALLS:
        inner = eqn.params[CALLS[name]]
        return all(jnp.ndim(const) == 0 for const in inner.consts) and _is_plain(inner.jaxpr, n)
    if name in ("broadcast_in_dim", "reshape", "squeeze"):
        # Of shapes () and [n] alone, these spread a scalar or do nothing.
        return True
    return name in _ARITHMETIC


def _run(jaxpr: Any, consts: list[Any], arguments: list[Any]) -> list[Any]:
    shape = arguments[0].shape
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))

    def read(atom: Any) -> jax.Array:
        if hasattr(atom, "val"):
            return jnp.broadcast_to(jnp.asarray(atom.val, atom.aval.dtype), shape)
        return values[atom]

    for eqn in jaxpr.eqns:
        inputs, name = [read(atom) for atom in eqn.invars], eqn.primitive.name
        if name in CALLS:
            inner = eqn.params[CALLS[name]]
            spread = [jnp.broadcast_to(const, shape) for const in inner.consts]
            outputs = _run(inner.jaxpr, spread, inputs) if inputs else _run_constant(inner, shape)
        elif name in ("broadcast_in_dim", "reshape", "squeeze"):
            outputs = inputs
        else:
            outputs = eqn.primitive.bind(*inputs, **eqn.params)
            outputs = outputs if eqn.primitive.multiple_results else [outputs]
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _run_constant(inner: Any, shape: tuple[int, ...]) -> list[Any]:
    return [jnp.broadcast_to(each, shape) for each in jaxpr_as_fun(inner)()]
