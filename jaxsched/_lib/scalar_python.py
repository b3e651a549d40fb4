"""Programs of arithmetic, as jax traced them, written out as plain Python on one row's numbers.

Each operation is rounded or wrapped to its own 32-bit type, so that what Python computes is what
the operations say one by one. Division by a number that all rows share is multiplication by its
reciprocal, as XLA has it. A compiler may also fuse operations, or take other approximations of
functions such as the logarithm, which moves floats by some units in the last place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import lax

from jaxsched._lib.rowwise import CALLS

_ROUNDED = {"float32": "_f32", "int32": "_i32", "uint32": "_u32", "bool": ""}
# fmt: off
_MATH = (
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "erf",
    "erfc", "exp", "exp2", "expm1", "lgamma", "log1p", "sin", "sinh", "sqrt", "tan", "tanh",
)
_OPERATORS = {
    "add": "+", "add_any": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}
# fmt: on
_SAME = ("broadcast_in_dim", "reshape", "squeeze", "copy", "stop_gradient")

#: Functions that the lines call; they need the modules ctypes and math.
_HELPERS = {
    "_f32": """
def _f32(number):
    return ctypes.c_float(number).value
""",
    "_i32": """
def _i32(number):
    return ctypes.c_int32(number).value
""",
    "_u32": """
def _u32(number):
    return ctypes.c_uint32(number).value
""",
    "_to_int": """
def _to_int(number, least, most):
    return 0 if number != number else int(min(max(number, least), most))
""",
    "_over": """
def _over(a, b):
    if b != 0:
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)
""",
    "_quotient": """
def _quotient(a, b):
    return -1 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
""",
    "_remainder": """
def _remainder(a, b):
    return a if b == 0 else int(math.copysign(abs(a) % abs(b), a))
""",
    "_whole": """
def _whole(function, number):
    return float(function(number)) if abs(number) < 2**24 else number
""",
    "_larger": """
def _larger(a, b):
    return a + b if a != a or b != b else max(a, b)
""",
    "_smaller": """
def _smaller(a, b):
    return a + b if a != a or b != b else min(a, b)
""",
    "_log": """
def _log(number):
    return math.log(number) if number > 0 else -math.inf if number == 0 else math.nan
""",
    "_call": """
def _call(function, *numbers):
    try:
        return function(*numbers)
    except ValueError:
        return math.nan
    except OverflowError:
        return math.inf
""",
}


class Scalars(NamedTuple):
    """A program on one row's numbers.

    Attributes:
      lines: assignments, of what the result needs alone.
      result: the name or the number that is the result.
      dtype: of the result, by name.
      reads: those of the given names that the lines or the result read.
      helpers: definitions of the functions that the lines call.
    """

    lines: list[str]
    result: str
    dtype: str
    reads: frozenset[str]
    helpers: str


class NotScalar(ValueError):
    """A program holds what there is no plain Python for."""


def scalar_python(program: Any, arguments: Sequence[str | float | int | bool]) -> Scalars:
    """Write out a program that :func:`~jaxsched._lib.rowwise.is_rowwise`, with one result.

    Args:
      program: a closed jaxpr.
      arguments: for each of its inputs a name, or the number that all rows have there.

    Raises:
      NotScalar: an operation or a type that is not written out.
    """
    writer = _Writer()
    shapes = [var.aval.shape for var in program.jaxpr.invars]
    writer.of_rows.update(
        each
        for each, shape in zip(arguments, shapes, strict=True)
        if isinstance(each, str) and shape
    )
    given = [each if isinstance(each, str) else _literal(each) for each in arguments]
    (result,) = writer.write(program, given)
    lines, reads = writer.needed(result)
    text = "\n".join(lines)
    return Scalars(
        lines=lines,
        result=result,
        dtype=program.out_avals[0].dtype.name,
        reads=frozenset(reads.intersection(each for each in arguments if isinstance(each, str))),
        helpers="\n".join(_HELPERS[name] for name in _HELPERS if f"{name}(" in text),
    )


class _Line(NamedTuple):
    name: str
    expression: str
    reads: tuple[str, ...]


class _Writer:
    def __init__(self) -> None:
        self.lines: dict[str, _Line] = {}  # by expression: each is computed once
        self.of_rows: set[str] = set()  # names of what differs from row to row

    def write(self, program: Any, given: list[str]) -> list[str]:
        """Append the lines of a program, and return what its results are called."""
        jaxpr = program.jaxpr
        consts = [_literal(np.asarray(const).item()) for const in program.consts]
        names = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *given), strict=True))

        def read(atom: Any) -> str:
            return _literal(np.asarray(atom.val).item()) if hasattr(atom, "val") else names[atom]

        for eqn in jaxpr.eqns:
            inputs = [read(atom) for atom in eqn.invars]
            if eqn.primitive.name in CALLS:
                outputs = self.write(eqn.params[CALLS[eqn.primitive.name]], inputs)
            elif eqn.primitive.name in _SAME:
                outputs = inputs
            else:
                outputs = [self._computed(eqn, inputs)]
            names.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _computed(self, eqn: Any, inputs: list[str]) -> str:
        """Append a line, unless there is one that says the same; return what it is called."""
        if eqn.primitive.name == "div" and eqn.invars[0].aval.dtype.name == "float32":
            a, b = inputs
            if a in self.of_rows and b not in self.of_rows:
                inverse = self._line(f"_f32(_over(1.0, {b}))", (b,))
                return self._line(f"_f32({a} * {inverse})", (a, inverse))
        return self._line(_rounded(eqn, _expression(eqn, inputs)), tuple(inputs))

    def _line(self, expression: str, reads: tuple[str, ...]) -> str:
        line = _Line(f"v{len(self.lines)}", expression, reads)
        name = self.lines.setdefault(expression, line).name
        if self.of_rows.intersection(reads):
            self.of_rows.add(name)
        return name

    def needed(self, result: str) -> tuple[list[str], set[str]]:
        """Return the lines that a result needs, and all names that it and they read."""
        reads, kept = {result}, []
        for line in reversed(self.lines.values()):
            if line.name in reads:
                reads.update(line.reads)
                kept.append(f"{line.name} = {line.expression}")
        return kept[::-1], reads


def _literal(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "math.nan" if math.isnan(value) else f"{'-' * (value < 0)}math.inf"
    return repr(value)


def _rounded(eqn: Any, expression: str) -> str:
    dtype = eqn.outvars[0].aval.dtype.name
    if dtype not in _ROUNDED:
        raise NotScalar(f"computes in {dtype}; expected 32-bit numbers")
    kept = ("neg", "abs", "max", "min", "select_n", "clamp", "sign", "floor", "ceil", "round")
    if eqn.primitive.name in kept and dtype == "float32":
        return expression  # these give numbers that need no rounding
    return f"{_ROUNDED[dtype]}({expression})" if _ROUNDED[dtype] else expression


def _expression(eqn: Any, inputs: list[str]) -> str:
    name, kind = eqn.primitive.name, eqn.invars[-1].aval.dtype.name
    is_float = kind == "float32"
    if kind not in _ROUNDED:
        raise NotScalar(f"computes in {kind}; expected 32-bit numbers")
    a, *rest = inputs
    b = rest[0] if rest else ""
    if name in _OPERATORS:
        return f"{a} {_OPERATORS[name]} {b}"
    if name in _MATH:
        return f"_call(math.{name}, {', '.join(inputs)})"
    if name == "convert_element_type":
        return _converted(a, kind, eqn.outvars[0].aval.dtype.name)
    if name == "select_n":
        return _selected(eqn, inputs)
    if name == "integer_pow":
        power = eqn.params["y"]
        return f"_over(1.0, ({a}) ** {-power})" if power < 0 else f"({a}) ** {power}"
    if name == "round" and eqn.params["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN:
        return f"_whole(round, {a})"
    one = "1.0" if is_float else "1"
    forms = {
        "neg": f"-{a}",
        "abs": f"abs({a})",
        "sign": f"{a} if {a} != {a} or {a} == 0 else {one} if {a} > 0 else -{one}",
        "not": f"not {a}" if kind == "bool" else f"~{a}",
        "div": f"_over({a}, {b})" if is_float else f"_quotient({a}, {b})",
        "rem": f"_call(math.fmod, {a}, {b})" if is_float else f"_remainder({a}, {b})",
        "max": f"_larger({a}, {b})",
        "min": f"_smaller({a}, {b})",
        "clamp": f"_smaller(_larger({b}, {a}), {rest[-1] if rest else ''})",
        "log": f"_log({a})",
        "rsqrt": f"_over(1.0, _call(math.sqrt, {a}))",
        "logistic": f"_over(1.0, 1.0 + _call(math.exp, -{a}))",
        "square": f"{a} * {a}",
        "pow": f"_call(math.pow, {a}, {b})",
        "floor": f"_whole(math.floor, {a})",
        "ceil": f"_whole(math.ceil, {a})",
        "is_finite": f"abs({a}) < math.inf",
    }
    if name not in forms:
        raise NotScalar(f"uses the operation {name}, which is not written out in plain Python")
    return forms[name]


def _converted(a: str, old: str, new: str) -> str:
    if new == "bool":
        return f"{a} != 0"
    if new == "float32":
        return f"float({a})"
    if old == "float32":
        least, most = ("-2147483648", "2147483647") if new == "int32" else ("0", "4294967295")
        return f"_to_int({a}, {least}, {most})"
    return a


def _selected(eqn: Any, inputs: list[str]) -> str:
    if eqn.invars[0].aval.dtype.name != "bool" or len(inputs) != 3:
        raise NotScalar("chooses between more than two numbers; expected jnp.where")
    which, if_false, if_true = inputs
    return f"{if_true} if {which} else {if_false}"
