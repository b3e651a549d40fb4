"""Rates that change smoothly: a day, a ramp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxsched._lib.errors import choice
from jaxsched._lib.pytree import pytree, static
from jaxsched.workloads.arrivals._streams import require_numbers
from jaxsched.workloads.arrivals.profiles import Profile

_BISECTIONS = 64  # from a whole period to less than float64 tells apart

RampUp = Literal["linear", "exponential"]


@pytree
class Diurnal(Profile):
    r"""A day: the level swings around 1 as a cosine.

    .. math:: 1 + a \cos\bigl(2 \pi (t - t_0) / T\bigr)

    Attributes:
      swing: :math:`a`, from 0 to 1.
      peak_at_s: :math:`t_0`, second of the highest level.
      period_s: :math:`T`, seconds from peak to peak.

    Example:
      >>> import jaxsched as js
      >>> day = js.workloads.arrivals.Diurnal(swing=0.5)
      >>> [round(float(day.level(3600.0 * hour)), 3) for hour in (0, 6, 12)]
      [1.5, 1.0, 0.5]
    """

    swing: ArrayLike = 0.5
    peak_at_s: ArrayLike = 0.0
    period_s: ArrayLike = 86_400.0

    def level(self, time_s: jax.Array) -> jax.Array:
        """Level at each time.

        Args:
          time_s: float64 seconds since the start, any shape.
        """
        wave = jnp.cos(2 * jnp.pi * (time_s - self.peak_at_s) / self.period_s)
        return 1 + jnp.asarray(self.swing) * wave

    def area(self, time_s: jax.Array) -> jax.Array:
        """Integral of the level from second 0.

        Args:
          time_s: float64 seconds since the start, any shape.
        """
        angle = 2 * jnp.pi / jnp.asarray(self.period_s)
        wave = jnp.sin(angle * (time_s - self.peak_at_s)) + jnp.sin(angle * self.peak_at_s)
        return time_s + jnp.asarray(self.swing) / angle * wave

    def time_at(self, area: jax.Array) -> jax.Array:
        """Second at which the integral of the level reaches each area.

        Args:
          area: float64 numbers >= 0, any shape.
        """
        # A whole period has the area of level 1. What is left is found by halving a period.
        period_s = jnp.asarray(self.period_s)
        begin_s = jnp.floor(area / period_s) * period_s
        goal = area - begin_s

        def halved(_: jax.Array, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            low_s, high_s = ends
            middle_s = (low_s + high_s) / 2
            is_low = self.area(middle_s) < goal
            return jnp.where(is_low, middle_s, low_s), jnp.where(is_low, high_s, middle_s)

        ends = jnp.zeros_like(goal), jnp.broadcast_to(period_s, goal.shape).astype(goal.dtype)
        low_s, high_s = lax.fori_loop(jnp.int32(0), jnp.int32(_BISECTIONS), halved, ends)
        return begin_s + (low_s + high_s) / 2

    @property
    def peak(self) -> jax.Array:
        """The highest level."""
        return 1 + jnp.asarray(self.swing)

    def require(self) -> None:
        """Raise a ValueError for numbers that make no day; traced ones are not looked at."""
        require_numbers("swing", self.swing, "a number from 0 to 1", least=0.0, most=1.0)
        require_numbers("peak_at_s", self.peak_at_s, "finite seconds")
        require_numbers("period_s", self.period_s, "seconds > 0", above=0.0)


@pytree
class Ramp(Profile):
    r"""A level that goes from one value to another, and stays there.

    With :math:`x = \min(t / T, 1)`, linear or exponential:

    .. math:: a + (b - a)\, x, \qquad a\, (b / a)^x

    Attributes:
      start: :math:`a` > 0.
      end: :math:`b` > 0.
      ramp_s: :math:`T`, seconds that it takes.
      strategy: "linear" or "exponential", as ``vllm bench serve --ramp-up-strategy``.

    Example:
      >>> import jaxsched as js
      >>> ramp = js.workloads.arrivals.Ramp(start=0.25, end=1.0, ramp_s=60.0)
      >>> [float(ramp.level(second)) for second in (0.0, 20.0, 90.0)]
      [0.25, 0.5, 1.0]
    """

    start: ArrayLike = 0.1
    end: ArrayLike = 1.0
    ramp_s: ArrayLike = 600.0
    strategy: RampUp = static(default="linear")

    def level(self, time_s: jax.Array) -> jax.Array:
        """Level at each time.

        Args:
          time_s: float64 seconds since the start, any shape.
        """
        share = jnp.clip(jnp.asarray(time_s) / self.ramp_s, 0.0, 1.0)
        start, end = jnp.asarray(self.start), jnp.asarray(self.end)
        if self.strategy == "linear":
            return start + (end - start) * share
        return start * (end / start) ** share

    def area(self, time_s: jax.Array) -> jax.Array:
        """Integral of the level from second 0.

        Args:
          time_s: float64 seconds since the start, any shape.
        """
        inside_s = jnp.minimum(time_s, self.ramp_s)
        start, end = jnp.asarray(self.start), jnp.asarray(self.end)
        share = inside_s / self.ramp_s
        if self.strategy == "linear":
            mean = start + (end - start) * share / 2
        else:
            mean = start * _without_gap(jnp.expm1, jnp.log(end / start) * share)
        return mean * inside_s + end * (time_s - inside_s)

    def time_at(self, area: jax.Array) -> jax.Array:
        """Second at which the integral of the level reaches each area.

        Args:
          area: float64 numbers >= 0, any shape.
        """
        start, end = jnp.asarray(self.start), jnp.asarray(self.end)
        ramp_s = jnp.asarray(self.ramp_s)
        on_ramp = self.area(ramp_s)
        inside = jnp.minimum(area, on_ramp)
        if self.strategy == "linear":
            reached = jnp.sqrt(start**2 + 2 * (end - start) / ramp_s * inside)
            time_s = 2 * inside / (start + reached)
        else:
            growth = jnp.log(end / start) / ramp_s
            time_s = inside / start * _without_gap(jnp.log1p, growth * inside / start)
        return jnp.minimum(time_s, ramp_s) + (area - inside) / end

    @property
    def peak(self) -> jax.Array:
        """The higher end, and what rounding may add to it."""
        return jnp.maximum(jnp.asarray(self.start), jnp.asarray(self.end)) * (1 + 1e-6)

    def require(self) -> None:
        """Raise a ValueError for numbers that make no ramp; traced ones are not looked at."""
        choice("strategy", self.strategy, ("linear", "exponential"))
        for name in ("start", "end"):
            require_numbers(name, getattr(self, name), "a finite number > 0", above=0.0)
        require_numbers("ramp_s", self.ramp_s, "seconds > 0", above=0.0)


def _without_gap(function: Callable[[jax.Array], jax.Array], number: jax.Array) -> jax.Array:
    """Divide a function of slope 1 at 0 by its argument, also where this is 0."""
    is_zero = number == 0
    safe = jnp.where(is_zero, 1.0, number)
    return jnp.where(is_zero, 1.0, function(safe) / safe)
