"""Short texts and tables that stand for arrays, where they are numbers and where they are not."""

from __future__ import annotations

import html as html_text
from typing import Any

import jax
import numpy as np

from jaxsched._layout import Column, Layout, html

_PERCENTS = {"median": 50, "p99": 99}
_MOST_RANKED = 2**24  # ranking more would keep a notebook waiting for seconds


def are_numbers(*leaves: Any) -> bool:
    """Whether these arrays hold numbers that this process can read.

    Tracers and shapes do not, nor do arrays that were donated or are spread over processes.
    """
    return all(map(_is_readable, leaves))


def _is_readable(leaf: Any) -> bool:
    if isinstance(leaf, jax.core.Tracer):
        return False
    if isinstance(leaf, jax.Array):
        return leaf.is_fully_addressable and not leaf.is_deleted()
    return isinstance(leaf, (np.ndarray, np.generic))


def shape_text(leaf: Any) -> str | None:
    """Write the shape ``[.., n]`` of an array or tracer; None if it has none.

    Example:
      >>> import numpy as np
      >>> from jaxsched._shown import shape_text
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
      >>> from jaxsched._shown import span
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
    columns = [Column(corner, list(rows))]
    measures: dict[str, Any] = {"least": np.min, "mean": np.mean, "greatest": np.max}
    if max(map(np.size, rows.values())) <= _MOST_RANKED:
        for name, percent in _PERCENTS.items():
            measures[name] = lambda values, percent=percent: np.percentile(values, percent)
    order = [name for name in ("least", "median", "mean", "p99", "greatest") if name in measures]
    for name in order:
        cells = [
            f"{measures[name](values):,.0f}" if values.size else "" for values in rows.values()
        ]
        columns.append(Column(name, cells))
    return html(Layout(title=title, columns=columns, caption=caption))


def text_html(text: str) -> str:
    """Show a text as code."""
    return f"<code>{html_text.escape(text)}</code>"
