"""What a relaxation is: the contract, written once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax

from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome


class Relaxation(Protocol):
    """A smooth stand-in for the simulator, for one instance.

    An attribute ``simulations`` says how many hard evaluations a call takes, none if absent.
    """

    def __call__(self, score: jax.Array, inst: Instance, temperature: Any, /) -> Outcome:
        r"""Return an outcome in rounds, smooth in the scores.

        Args:
          score: float32 ``[n]``, lower first.
          inst: one instance ``[n]``.
          temperature: :math:`\tau > 0`, in units of the score.
        """
        ...


def simulates_once(relaxation: Callable[..., Outcome]) -> Any:
    """Mark a relaxation that starts from a simulated schedule."""
    marked: Any = relaxation
    marked.simulations = 1
    return marked
