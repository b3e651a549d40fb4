"""Tokens held over time, as pieces that are linear in the round (int64)."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxsched._lib.arrays import masked, namespace, sorted_in_place
from jaxsched.model.instance import MAX_INT32, Instance

# An event is one number: its round, less the middle one, above 33 bits of tokens with a sign.
_MIDDLE_ROUND, _TOKEN_BITS = 2**30, 33
_HALF = 2 ** (_TOKEN_BITS - 1)
_ZERO = _HALF - _MIDDLE_ROUND * 2**_TOKEN_BITS  # round 0, no tokens


class Events(NamedTuple):
    """The starts and completions of each instance in order of time, ``[.., 2n]``.

    Padding comes and goes behind all others, in round ``2^31 - 1``.

    Attributes:
      time: int64 rounds, ascending.
      change: int64, 1 at a start, -1 at a completion.
      signed_tokens: int64, the prompt at a start, less prompt and output at a completion.
    """

    time: Any
    change: Any
    signed_tokens: Any


def events_in_order(inst: Instance, start: Any, completion: Any) -> Events:
    """Sort starts and completions by time, completions first.

    Round and tokens are one number to sort by, since to sort an order and follow it takes
    several times as long.

    Args:
      inst: the instance, ``[.., n]``.
      start: rounds ``[.., n]`` from 0 to ``2^31 - 1``.
      completion: rounds ``[.., n]``, likewise.
    """
    xp = namespace(inst.prompt_tokens)
    prompt, output = (each.astype(xp.int64) for each in (inst.prompt_tokens, inst.output_tokens))

    def packed(time: Any, signed_tokens: Any, if_padding: int) -> Any:
        number = time.astype(xp.int64) * 2**_TOKEN_BITS + (signed_tokens + _ZERO)
        latest = MAX_INT32 * 2**_TOKEN_BITS + _ZERO
        return masked(number, inst.is_real, latest + if_padding)

    numbers = packed(start, prompt, 1), packed(completion, -(prompt + output), -1)
    number = sorted_in_place(xp.concatenate(numbers, axis=-1))
    signed_tokens = (number & (2**_TOKEN_BITS - 1)) - _HALF
    return Events(
        time=(number >> _TOKEN_BITS) + _MIDDLE_ROUND,
        change=xp.sign(signed_tokens),
        signed_tokens=signed_tokens,
    )


class UsagePieces(NamedTuple):
    r"""Rounds ``begin + 1 .. end`` hold ``base + slope * round`` tokens.

    Between two starts or completions the active set :math:`S` does not change, so round
    :math:`t` holds :math:`\sum_{i \in S} (s_i - p_i) + |S|\,t`. Each field is int64
    ``[.., 2n]`` in order of time; pieces with ``begin == end`` contain no round.
    """

    begin: Any
    end: Any
    base: Any
    slope: Any

    @property
    def tokens_at_end(self) -> Any:
        """Tokens held in the last round of each piece, its most.

        A piece of no rounds stands for a part of those active at once in a round before or
        behind it, so it has no more than these.
        """
        return self.base + self.slope * self.end


def usage_pieces(events: Events) -> UsagePieces:
    """Cut memory use at every start and completion; padding holds nothing."""
    xp = namespace(events.time)
    begin = events.time
    return UsagePieces(
        begin=begin,
        end=xp.concatenate([begin[..., 1:], begin[..., -1:]], axis=-1),
        # s - p comes at a start, and goes at a completion, of s + o tokens in round p + o.
        base=xp.cumsum(events.signed_tokens - events.change * begin, axis=-1),
        slope=xp.cumsum(events.change, axis=-1),
    )
