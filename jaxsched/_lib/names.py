"""The answer to a name that nothing is called."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


def hint(name: str, known: Collection[str], aliases: Collection[str] = ()) -> str:
    """Offer the names nearest to ``name``, or all ``known`` ones where none is near.

    Example:
      >>> from jaxsched._lib.names import hint
      >>> hint("Volum", ["volume", "price"])
      "did you mean 'volume'?"
      >>> hint("h100", ["llama2_70b_2xa100", "llama2_70b_4xh100"])
      "did you mean 'llama2_70b_4xh100'?"
      >>> hint("simplex", ["volume", "price"])
      'known: volume, price'
    """
    near = nearest(name, (*known, *aliases))
    return did_you_mean(near) if near else f"known: {', '.join(known)}"


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Names that look like ``name``, or hold it, the nearest first."""
    asked, by_lower_case = name.lower(), {each.lower(): each for each in known}
    near = difflib.get_close_matches(asked, by_lower_case)
    near = near or [each for each in by_lower_case if asked and asked in each]
    return [by_lower_case[each] for each in near]


def did_you_mean(names: Iterable[str]) -> str:
    """Offer some names."""
    return f"did you mean {' or '.join(map(repr, names))}?"
