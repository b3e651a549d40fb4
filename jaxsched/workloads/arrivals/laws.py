"""Laws of request lengths, which a rank correlation can join."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import log_ndtr, ndtr
from jax.typing import ArrayLike

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError, reject
from jaxsched._lib.pytree import pytree
from jaxsched.workloads.arrivals._streams import require_numbers

_BISECTIONS = 40


class LengthLaw:
    """A law of lengths in tokens, before they are rounded.

    Every number of a law is one for all requests, or ``[C]``, one for each client.
    """

    def at_normal(self, normal: jax.Array) -> jax.Array:
        r"""Length that is exceeded as seldom as a standard normal number is.

        .. math:: F^{-1}(\Phi(z))

        Args:
          normal: :math:`z`, any shape.
        """
        raise NotImplementedError

    def survival(self, tokens: jax.Array) -> jax.Array:
        """Share of lengths above each number of tokens.

        Args:
          tokens: numbers, any shape.
        """
        raise NotImplementedError

    def of_clients(self, client: jax.Array) -> Any:
        """Law of each request, by its client.

        Args:
          client: int32 ``[.., n]``.
        """
        return jax.tree.map(
            lambda leaf: leaf if jnp.ndim(leaf) == 0 else jnp.asarray(leaf)[client], self
        )

    def require(self, name: str) -> None:
        """Raise a ValueError for numbers that make no law; traced ones are not looked at.

        Args:
          name: what the law is the law of.
        """
        raise NotImplementedError


@pytree
class LogNormal(LengthLaw):
    r"""Lengths whose logarithm is normal: :math:`m\, e^{\sigma z}`.

    Attributes:
      median: :math:`m` > 0, tokens.
      sigma: :math:`\sigma \ge 0`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> law = js.workloads.arrivals.LogNormal(median=100.0, sigma=1.0)
      >>> law.at_normal(jnp.array([-1.0, 0.0, 1.0])).round().tolist()
      [37.0, 100.0, 272.0]
    """

    median: ArrayLike
    sigma: ArrayLike

    def at_normal(self, normal: jax.Array) -> jax.Array:
        """Length that is exceeded as seldom as a standard normal number is.

        Args:
          normal: any shape.
        """
        return jnp.asarray(self.median) * jnp.exp(self.sigma * normal)

    def survival(self, tokens: jax.Array) -> jax.Array:
        """Share of lengths above each number of tokens.

        Args:
          tokens: numbers, any shape.
        """
        return ndtr(-jnp.log(tokens / self.median) / self.sigma)

    def require(self, name: str) -> None:
        """Raise a ValueError for numbers that make no law; traced ones are not looked at.

        Args:
          name: what the law is the law of.
        """
        require_numbers(
            f"median of {name}", self.median, "a finite number of tokens > 0", above=0.0
        )
        require_numbers(f"sigma of {name}", self.sigma, "a finite number > 0", above=0.0)


@pytree
class Exponential(LengthLaw):
    """Exponential lengths, as outputs of chats roughly have.

    Attributes:
      mean: tokens > 0.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> law = js.workloads.arrivals.Exponential(mean=100.0)
      >>> law.at_normal(jnp.array([-1.0, 0.0, 1.0])).round().tolist()
      [17.0, 69.0, 184.0]
    """

    mean: ArrayLike

    def at_normal(self, normal: jax.Array) -> jax.Array:
        """Length that is exceeded as seldom as a standard normal number is.

        Args:
          normal: any shape.
        """
        return -jnp.asarray(self.mean) * log_ndtr(-normal)

    def survival(self, tokens: jax.Array) -> jax.Array:
        """Share of lengths above each number of tokens.

        Args:
          tokens: numbers, any shape.
        """
        return jnp.exp(-tokens / self.mean)

    def require(self, name: str) -> None:
        """Raise a ValueError for numbers that make no law; traced ones are not looked at.

        Args:
          name: what the law is the law of.
        """
        require_numbers(f"mean of {name}", self.mean, "a finite number of tokens > 0", above=0.0)


@pytree
class Pareto(LengthLaw):
    r"""Lengths with a heavy tail: above :math:`x` lies the share :math:`(m / x)^a`.

    Attributes:
      least: :math:`m` > 0, the shortest, tokens.
      tail: :math:`a` > 0; up to 1 the mean is infinite, up to 2 the variance.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> law = js.workloads.arrivals.Pareto(least=1000.0, tail=1.5)
      >>> law.at_normal(jnp.array([-1.0, 0.0, 1.0])).round(0).tolist()
      [1122.0, 1587.0, 3412.0]
    """

    least: ArrayLike
    tail: ArrayLike

    def at_normal(self, normal: jax.Array) -> jax.Array:
        """Length that is exceeded as seldom as a standard normal number is.

        Args:
          normal: any shape.
        """
        return jnp.asarray(self.least) * jnp.exp(-log_ndtr(-normal) / self.tail)

    def survival(self, tokens: jax.Array) -> jax.Array:
        """Share of lengths above each number of tokens.

        Args:
          tokens: numbers, any shape.
        """
        return jnp.minimum(self.least / tokens, 1.0) ** self.tail

    def require(self, name: str) -> None:
        """Raise a ValueError for numbers that make no law; traced ones are not looked at.

        Args:
          name: what the law is the law of.
        """
        require_numbers(f"least of {name}", self.least, "a finite number of tokens > 0", above=0.0)
        require_numbers(f"tail of {name}", self.tail, "a finite number > 0", above=0.0)


@pytree
class Mixture(LengthLaw):
    """A share of lengths of one law and the rest of another: bimodal outputs, long tails.

    Its inverse is found by bisection between the lengths of its parts, so that a longer one still
    belongs to a larger normal number, as a rank correlation needs.

    Attributes:
      first: a law.
      second: another.
      share_first: share of the first, from 0 to 1.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> from jaxsched.workloads.arrivals import LogNormal, Mixture
      >>> brief, thorough = LogNormal(60.0, 0.5), LogNormal(3000.0, 0.5)
      >>> law = Mixture(brief, thorough, share_first=0.7)
      >>> law.at_normal(jnp.array([-1.0, 0.0, 1.0])).round(0).tolist()
      [41.0, 80.0, 2893.0]
    """

    first: LengthLaw
    second: LengthLaw
    share_first: ArrayLike

    def at_normal(self, normal: jax.Array) -> jax.Array:
        """Length that is exceeded as seldom as a standard normal number is.

        Args:
          normal: any shape.
        """
        parts = self.first.at_normal(normal), self.second.at_normal(normal)
        is_above = ndtr(-normal)

        def halved(_: jax.Array, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            low, high = ends
            middle = (low + high) / 2
            is_low = self.survival(middle) > is_above
            return jnp.where(is_low, middle, low), jnp.where(is_low, high, middle)

        ends = jnp.minimum(*parts), jnp.maximum(*parts)
        low, high = lax.fori_loop(jnp.int32(0), jnp.int32(_BISECTIONS), halved, ends)
        return (low + high) / 2

    def survival(self, tokens: jax.Array) -> jax.Array:
        """Share of lengths above each number of tokens.

        Args:
          tokens: numbers, any shape.
        """
        share = jnp.asarray(self.share_first)
        return share * self.first.survival(tokens) + (1 - share) * self.second.survival(tokens)

    def of_clients(self, client: jax.Array) -> Mixture:
        """Law of each request, by its client.

        Args:
          client: int32 ``[.., n]``.
        """
        share = self.share_first
        share = share if jnp.ndim(share) == 0 else jnp.asarray(share)[client]
        return Mixture(self.first.of_clients(client), self.second.of_clients(client), share)

    def require(self, name: str) -> None:
        """Raise a ValueError for numbers that make no law; traced ones are not looked at.

        Args:
          name: what the law is the law of.
        """
        self.first.require(name)
        self.second.require(name)
        require_numbers(
            f"share_first of {name}", self.share_first, "a number from 0 to 1", least=0.0, most=1.0
        )


@pytree
class Sample(LengthLaw):
    """Lengths drawn from a sample of them, such as a column of a trace; for all clients alike.

    Attributes:
      tokens: numbers > 0, ascending, ``[m]``.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> law = js.workloads.arrivals.Sample(tokens=[10, 20, 40])
      >>> law.at_normal(jnp.array([-1.0, 0.0, 1.0])).tolist()
      [10.0, 20.0, 40.0]
    """

    tokens: Any

    def at_normal(self, normal: jax.Array) -> jax.Array:
        """Length that is exceeded as seldom as a standard normal number is.

        Args:
          normal: any shape.
        """
        tokens = jnp.asarray(self.tokens).astype(normal.dtype)
        place = jnp.floor(ndtr(normal) * tokens.shape[0]).astype(jnp.int32)
        return tokens[jnp.minimum(place, tokens.shape[0] - 1)]

    def survival(self, tokens: jax.Array) -> jax.Array:
        """Share of lengths above each number of tokens.

        Args:
          tokens: numbers, any shape.
        """
        own = jnp.asarray(self.tokens).astype(tokens.dtype)
        up_to = jnp.searchsorted(own, tokens, side="right")
        return 1 - up_to.astype(tokens.dtype) / own.shape[0]

    def of_clients(self, client: jax.Array) -> Sample:
        """Law of each request: this one.

        Args:
          client: int32 ``[.., n]``.
        """
        del client
        return self

    def require(self, name: str) -> None:
        """Raise a ValueError for numbers that make no law; traced ones are not looked at.

        Args:
          name: what the law is the law of.
        """
        if is_traced(self.tokens):
            return
        tokens = np.asarray(self.tokens)
        if tokens.ndim != 1 or not tokens.size:
            raise InputError(f"tokens of {name}", self.tokens, "expected a list of numbers")
        require_numbers(f"tokens of {name}", tokens, "a finite number > 0", above=0.0)
        falls = np.diff(tokens, prepend=tokens[0]) < 0
        reject(f"tokens of {name}", tokens, falls, "expected ascending numbers; sort them")
