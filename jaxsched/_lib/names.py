"""The answer to a name that nothing is called."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def hint(name: str, known: Iterable[str], aliases: Iterable[str] = ()) -> str:
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
    known = list(known)
    asked, by_lower_case = name.lower(), {each.lower(): each for each in (*known, *aliases)}
    near = difflib.get_close_matches(asked, by_lower_case)
    near = near or [each for each in by_lower_case if asked and asked in each]
    if not near:
        return f"known: {', '.join(known)}"
    return f"did you mean {' or '.join(repr(by_lower_case[each]) for each in near)}?"
