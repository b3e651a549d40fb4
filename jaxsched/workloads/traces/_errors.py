"""Errors about rows of a file that an argument settles."""

from __future__ import annotations

from jaxsched._lib.errors import InputError, bounded

_LONGEST_REASON = 200  # characters


class Settled(InputError):
    """Something in a file cannot be used unless an argument says how.

    Args:
      argument: the argument, as the library calls it.
      given: how it is given there, such as ``sort=True``.
      finding: what is wrong, up to the argument's name.
      remedy: what the argument does, after its name.
    """

    def __init__(self, argument: str, given: str, finding: str, remedy: str):
        super().__init__(argument, None, "", finding=finding)
        self.args = argument, given, finding, remedy  # to be pickled by
        self._given, self._remedy = given, remedy

    def about(self, name: str) -> str:
        """Say what is wrong, and which argument helps."""
        between = "" if name.endswith("=") else " "
        return f"{self.finding}{name}{between}{self._remedy}"

    def __str__(self) -> str:
        return self.about(self._given)


def reason(error: BaseException) -> str:
    """Say what another library found wrong, in one line of bounded length."""
    return bounded(" ".join(str(error).split()), _LONGEST_REASON)
