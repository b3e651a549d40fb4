"""Indexing over the leading axes of a noun, whose leaves are ``[..]`` or ``[.., n]``."""

from __future__ import annotations

from typing import Any, Self

import jax
import numpy as np


class Batched:
    """What nouns with leading axes share: ``len`` and ``[...]``, over those axes alone."""

    @property
    def _leading(self) -> tuple[int, ...]:
        raise NotImplementedError

    def __len__(self) -> int:
        """Size of the first leading axis."""
        if not self._leading:
            raise TypeError(f"this {type(self).__name__} has no leading axes, so no length")
        return self._leading[0]

    def __bool__(self) -> bool:
        """Be true: there is something, however many."""
        return True

    def __getitem__(self, index: Any) -> Self:
        """Take a part of the leading axes, as numpy would; requests stay together.

        Args:
          index: integers, slices, masks or arrays of integers for the leading axes.

        Raises:
          IndexError: an integer is out of range, or there are more indices than leading axes.
        """
        name, leading = type(self).__name__, self._leading
        try:  # numpy checks the range, where jax would take the nearest
            places = np.arange(int(np.prod(leading)), dtype=np.int64).reshape(leading)[index]
        except IndexError as error:
            raise IndexError(
                f"{name}[{index!r}] with the leading axes {leading}: {error}"
            ) from None

        def part(leaf: Any) -> Any:
            rest = leaf.shape[len(leading) :]
            return leaf.reshape(-1, *rest)[places.reshape(-1)].reshape((*places.shape, *rest))

        return jax.tree.map(part, self)
