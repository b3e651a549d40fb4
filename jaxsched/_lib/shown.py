"""Short texts and tables that stand for arrays, where they are numbers and where they are not."""

from __future__ import annotations

import functools
import html as html_text
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxsched._lib.layout import Column, Layout, html

_MEASURES: dict[str, Callable[[np.ndarray], Any]] = {
    "least": np.min,
    "median": np.median,
    "mean": np.mean,
    "p99": functools.partial(np.percentile, q=99),
    "greatest": np.max,
}
_RANKED = ("median", "p99")
_MOST_RANKED = 2**24  # ranking more would keep a notebook waiting for seconds


def are_numbers(*leaves: Any) -> bool:
    """Whether these arrays hold numbers that this process can read.

    Tracers and shapes do not, nor do arrays that were donated or are spread over processes.
    """
    return all(map(_is_readable, leaves))


def _is_readable(leaf: Any) -> bool:
    if isinstance(leaf, Tracer):
        return False
    if isinstance(leaf, jax.Array):
        return leaf.is_fully_addressable and not leaf.is_deleted()
    return isinstance(leaf, (np.ndarray, np.generic))


def shape_text(leaf: Any) -> str | None:
    """Write the shape ``[.., n]`` of an array or tracer; None if it has none.

    Example:
      >>> import numpy as np
      >>> from jaxsched._lib.shown import shape_text
      >>> shape_text(np.zeros(3)), shape_text(np.zeros((2, 3)))
      ('n=3', 'leading=(2,), n=3')
    """
    shape = getattr(leaf, "shape", None)
    if not isinstance(shape, tuple) or not shape:
        return None
    *leading, n = shape
    return f"leading={tuple(leading)}, n={n}" if leading else f"n={n}"


def span(values: Any) -> str:
    """Write the least and the greatest of whole numbers.

    Example:
      >>> from jaxsched._lib.shown import span
      >>> span([8, 8]), span([9, 5, 8])
      ('8', '5..9')
    """
    numbers = np.asarray(values)
    low, high = numbers.min(), numbers.max()
    return str(low) if low == high else f"{low}..{high}"


def leaves_text(name: str, leaves: dict[str, Any]) -> str:
    """Write an object of any leaves, such as the axes to map over."""
    return f"{name}({', '.join(f'{field}={leaf!r}' for field, leaf in leaves.items())})"


def summary_html(title: str, corner: str, rows: dict[str, np.ndarray], caption: str) -> str:
    """Lay out how the numbers of each row are spread, for a notebook."""
    is_large = max(map(np.size, rows.values())) > _MOST_RANKED
    columns = [Column(corner, list(rows))]
    for name, measure in _MEASURES.items():
        if not (is_large and name in _RANKED):
            columns.append(Column(name, [_number(measure(values)) for values in rows.values()]))
    return html(Layout(title=title, columns=columns, caption=caption))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.1f}"


def text_html(text: str) -> str:
    """Show a text as code."""
    return f"<code>{html_text.escape(text)}</code>"
