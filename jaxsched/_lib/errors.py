"""What is wrong with an argument: one error that library and command line word each their way."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from jaxsched._lib.names import did_you_mean, hint, nearest

MAX_INT32 = 2**31 - 1
_LONGEST_VALUE = 80  # characters of a value in a message


class InputError(ValueError):
    """An argument that is not what was expected.

    Its text is the sentence about ``argument``; :meth:`about` says the same of another name, such
    as the option of a command line.

    Attributes:
      argument: the argument or field, as the library calls it.
      value: what was given; for a position, the entry there.
      expectation: what would do, and perhaps the remedy; may be empty.
      position: index of the entry at fault, empty where it is the whole argument.
      finding: what is wrong, after the name: ``"is 0"`` unless said otherwise.

    Example:
      >>> from jaxsched._lib.errors import InputError
      >>> error = InputError("batch", 0, "expected an integer >= 1")
      >>> str(error)
      'batch is 0; expected an integer >= 1'
      >>> error.about("--instances")
      '--instances is 0; expected an integer >= 1'
    """

    def __init__(
        self,
        argument: str,
        value: Any,
        expectation: str,
        position: tuple[int, ...] = (),
        finding: str = "",
    ):
        super().__init__(argument, value, expectation, position, finding)
        self.argument = argument
        self.value = value
        self.expectation = expectation
        self.position = position
        self.finding = finding or f"is {shown(value)}"

    def about(self, name: str) -> str:
        """Say it of an argument called ``name``."""
        where = f"[{index_text(self.position)}]" if self.position else ""
        return "; ".join(filter(None, (f"{name}{where} {self.finding}", self.expectation)))

    def __str__(self) -> str:
        return self.about(self.argument)


class UnknownName(InputError, KeyError):
    """A name that nothing of a kind has; a ``KeyError`` too, since registries are mappings.

    Example:
      >>> from jaxsched._lib.errors import UnknownName
      >>> str(UnknownName("bound", "volum", ["volume", "price"]))
      "no bound is called 'volum'; did you mean 'volume'?"
    """

    def __init__(self, kind: str, name: Any, known: Collection[str], aliases: Collection[str] = ()):
        super().__init__(kind, name, hint(str(name), known, aliases))
        self.args = kind, name, tuple(known), tuple(aliases)  # to be pickled by

    def about(self, name: str) -> str:
        """Say it of things called ``name``."""
        return f"no {name} is called {shown(self.value)}; {self.expectation}"


def shown(value: Any) -> str:
    """Write a value, cut short in the middle where it is long.

    Example:
      >>> import numpy as np
      >>> from jaxsched._lib.errors import shown
      >>> shown("a name"), shown(np.float32(0.5)), len(shown("x" * 1000))
      ("'a name'", '0.5', 80)
    """
    is_number = isinstance(value, (int, float, np.generic))
    try:
        text = " ".join((str(value) if is_number else repr(value)).split())
    except (RecursionError, ValueError):  # nested too deeply, an integer of too many digits
        return f"a huge {type(value).__name__}"
    return bounded(text)


def bounded(text: str, longest: int = _LONGEST_VALUE) -> str:
    """Cut a long text short in the middle.

    Example:
      >>> from jaxsched._lib.errors import bounded
      >>> bounded("abcdefghij", longest=9)
      'ab ... ij'
    """
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    return f"{text[: longest - 5 - half]} ... {text[-half:]}"


@contextlib.contextmanager
def in_file(path: object) -> Iterator[None]:
    """Put the name of a file before what is found wrong with its content.

    Example:
      >>> from jaxsched._lib.errors import in_file, integer
      >>> with in_file("sweep.toml"):
      ...     integer("seed", 0.5)
      Traceback (most recent call last):
      ValueError: sweep.toml: seed is 0.5; expected an integer >= 1
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def index_text(position: tuple[Any, ...]) -> str:
    """Write an index as it stands in brackets."""
    return ", ".join(str(int(index)) for index in position)


def in_instance(position: tuple[Any, ...]) -> str:
    """Say in which instance, or nothing where there is one only.

    Example:
      >>> from jaxsched._lib.errors import in_instance
      >>> in_instance((2, 3)), in_instance(())
      (' in instance 2, 3', '')
    """
    return f" in instance {index_text(position)}" if position else ""


def first_true(flags: Any) -> tuple[int, ...] | None:
    """Index of the first flag that holds, or None.

    Example:
      >>> from jaxsched._lib.errors import first_true
      >>> first_true([[False, False], [True, True]]), first_true([False])
      ((1, 0), None)
    """
    flags = np.asarray(flags)
    if not flags.any():
        return None
    return tuple(int(index) for index in np.argwhere(flags)[0])


def reject(argument: str, values: Any, is_bad: Any, expectation: str) -> None:
    """Raise for the first entry of ``values`` where ``is_bad`` holds, naming its position."""
    position = first_true(is_bad)
    if position is not None:
        raise InputError(argument, np.asarray(values)[position], expectation, position)


def integer(
    argument: str,
    value: Any,
    least: int = 1,
    most: int | None = None,
    position: tuple[int, ...] = (),
) -> int:
    """Take ``value`` as an int of at least ``least`` and at most ``most``, or raise.

    Floats are refused even where they are whole, and so are truth values.

    Example:
      >>> from jaxsched._lib.errors import integer
      >>> integer("steps", 2.5)
      Traceback (most recent call last):
      jaxsched._lib.errors.InputError: steps is 2.5; expected an integer >= 1
    """
    number = None
    if not isinstance(value, bool):
        try:
            number = operator.index(value)
        except TypeError:
            number = None
    if number is None or number < least or (most is not None and number > most):
        bounds = f">= {least}" if most is None else f"from {least} to {_bound_text(most)}"
        raise InputError(argument, value, f"expected an integer {bounds}", position)
    return number


def _bound_text(most: int) -> str:
    return "2^31 - 1" if most == MAX_INT32 else str(most)


def choice(argument: str, value: Any, known: Collection[str]) -> None:
    """Raise unless ``value`` is one of the words that ``argument`` may be.

    Example:
      >>> from jaxsched._lib.errors import choice
      >>> choice("vary", "server", ("kv_capacity", "servers"))
      Traceback (most recent call last):
      jaxsched._lib.errors.InputError: vary is 'server'; did you mean 'servers'?
    """
    if value not in known:
        near = nearest(str(value), known)
        all_known = f"expected one of {', '.join(known)}"
        raise InputError(argument, value, did_you_mean(near) if near else all_known)


def wrong_shape(
    argument: str, shape: tuple[int, ...], expectation: str = "", beside: str = ""
) -> InputError:
    """Make the error for an array whose shape does not fit, perhaps ``beside`` another's.

    Example:
      >>> from jaxsched._lib.errors import wrong_shape
      >>> str(wrong_shape("start", (3,), beside="the instance has (2,)"))
      'start has shape (3,) but the instance has (2,)'
    """
    but = f" but {beside}" if beside else ""
    return InputError(argument, shape, expectation, finding=f"has shape {shape}{but}")


def wrong_dtype(argument: str, dtype: Any, expectation: str = "expected integers") -> InputError:
    """Make the error for an array of the wrong kind of numbers."""
    return InputError(argument, dtype, expectation, finding=f"has dtype {dtype}")
