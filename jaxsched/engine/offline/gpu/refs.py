"""How the body of the kernel reads requests and writes starts, whichever compiler takes it.

Triton and the interpreter hand a program blocks, the rows of its own instance; Mosaic GPU hands it
whole arrays. Nothing else differs for the body.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax


class Limits(NamedTuple):
    """What an instance may hold: tokens, and running requests or None; or references to both."""

    kv_capacity: Any
    max_num_seqs: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refs:
    """The memory of one program, whatever it keeps of placed requests.

    Attributes:
      prompt: int32 reference to the prompt tokens in serving order, 0 for padding; with the axes
        of ``at``, then ``[n]``.
      output: likewise, output tokens.
      limits_of: references with the axes of ``at``.
      start: written; start rounds by serving order, as ``prompt``.
      at: where this program's instance lies in the references: ``()`` or ``(instance,)``.
    """

    prompt: Any
    output: Any
    limits_of: Limits
    start: Any
    at: tuple[jax.Array, ...] = ()

    def request(self, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Load the tokens of the request to be placed at ``step``."""
        return self.prompt[(*self.at, step)], self.output[(*self.at, step)]

    def limits(self) -> Limits:
        """Load the limits."""
        return jax.tree.map(lambda ref: ref[self.at], self.limits_of)

    def set_start(self, step: jax.Array, p: jax.Array) -> None:
        """Store the start of the request placed at ``step``."""
        self.start[(*self.at, step)] = p


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotRefs(Refs):
    """The memory of a program that keeps its slots in registers.

    Attributes:
      overflow: written; 1 if the slots did not suffice, else 0; with the axes of ``at``.
    """

    overflow: Any

    def set_overflow(self, overflow: jax.Array) -> None:
        """Store whether the slots did not suffice."""
        self.overflow[self.at] = overflow
