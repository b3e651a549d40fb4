"""How a rate changes over time: functions of seconds, as multiples of a rate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError
from jaxsched._lib.pytree import pytree, static
from jaxsched.workloads.arrivals import _gaps
from jaxsched.workloads.arrivals._steps import walked
from jaxsched.workloads.arrivals._streams import require_numbers


class Profile:
    """A level over time, at most :attr:`peak`; the rate is the level times requests a second.

    ``a * b`` is the profile whose level is the product.
    """

    def level(self, time_s: jax.Array) -> jax.Array:
        """Level at each time.

        Args:
          time_s: float64 seconds since the start, any shape.
        """
        raise NotImplementedError

    def area(self, time_s: jax.Array) -> jax.Array:
        """Integral of the level from second 0.

        Args:
          time_s: float64 seconds since the start, any shape.

        Raises:
          ValueError: it is not known, see :meth:`time_at`.
        """
        raise self._without("area")

    def time_at(self, area: jax.Array) -> jax.Array:
        """Second at which the integral of the level reaches each area, infinite for never.

        Args:
          area: float64 numbers >= 0, ``[n]``, in ascending order.

        Raises:
          ValueError: it is not known. Profiles of this package have it, but for a product of two
            that change smoothly. Others define it beside ``area``.
        """
        raise self._without("time_at")

    def _without(self, method: str) -> InputError:
        return InputError(
            "profile",
            self,
            "gap_cv needs steps, or a smooth profile, or steps times one smooth profile; give "
            "one of these, or leave gap_cv out",
            finding=f"is a {type(self).__name__} without {method}",
        )

    @property
    def peak(self) -> jax.Array:
        """A number that no level exceeds."""
        raise NotImplementedError

    def drawn(self, key: jax.Array) -> Profile:
        """Draw the profile of one stream, where profiles are random.

        Args:
          key: a jax random key of the stream.
        """
        del key
        return self

    def require(self) -> None:
        """Raise a ValueError for numbers that make no profile; traced ones are not looked at."""
        raise NotImplementedError

    def __mul__(self, other: Profile) -> Profile:
        return Product(self, other)


@pytree
class Steps(Profile):
    """Levels that hold for a window each, and begin anew after the last: hours of a day, say.

    Attributes:
      levels: numbers >= 0, ``[k]``, not all 0. Their mean need not be 1.
      window_s: seconds that each holds.

    Example:
      >>> import jaxsched as js
      >>> shifts = js.workloads.arrivals.Steps([0.5, 1.5, 1.0], window_s=8 * 3600)
      >>> [float(shifts.level(3600.0 * hour)) for hour in (0, 9, 24)]
      [0.5, 1.5, 0.5]
    """

    levels: Any
    window_s: ArrayLike

    def level(self, time_s: jax.Array) -> jax.Array:
        """Level at each time.

        Args:
          time_s: float64 seconds since the start, any shape.
        """
        levels = jnp.asarray(self.levels)
        window = jnp.floor(jnp.asarray(time_s) / self.window_s)
        return levels[jnp.mod(window, levels.shape[0]).astype(jnp.int32)]

    def area(self, time_s: jax.Array) -> jax.Array:
        """Integral of the level from second 0.

        Args:
          time_s: float64 seconds since the start, any shape.
        """
        before, window_s = self._areas()
        cycle_s = window_s * (before.size - 1)
        cycle = jnp.floor(time_s / cycle_s)
        inside_s = time_s - cycle * cycle_s
        window = jnp.clip(jnp.floor(inside_s / window_s), 0, before.size - 2)
        since_s = inside_s - window * window_s
        place = window.astype(jnp.int32)
        return cycle * before[-1] + before[place] + since_s * jnp.asarray(self.levels)[place]

    def time_at(self, area: jax.Array) -> jax.Array:
        """Second at which the integral of the level reaches each area.

        Args:
          area: float64 numbers >= 0, any shape.
        """
        before, window_s = self._areas()
        cycle = jnp.floor(area / before[-1])
        inside = area - cycle * before[-1]
        place = jnp.searchsorted(before[1:], inside).astype(jnp.int32)
        place = jnp.minimum(place, before.size - 2)
        level = jnp.asarray(self.levels)[place]
        since_s = jnp.where(level > 0, (inside - before[place]) / level, 0.0)
        since_s = jnp.clip(since_s, 0.0, window_s)
        window = cycle * (before.size - 1) + place.astype(area.dtype)
        time_s = window * window_s + since_s
        return jnp.where(before[-1] > 0, time_s, jnp.inf)

    def _areas(self) -> tuple[jax.Array, jax.Array]:
        """Areas up to the begin of each window and to the end of the last, and a window."""
        window_s = jnp.asarray(self.window_s)
        areas = jnp.asarray(self.levels) * window_s
        return jnp.concatenate([jnp.zeros_like(areas[:1]), jnp.cumsum(areas)]), window_s

    @property
    def peak(self) -> jax.Array:
        """The highest level."""
        return jnp.max(jnp.asarray(self.levels))

    def require(self) -> None:
        """Raise a ValueError for numbers that make no steps; traced ones are not looked at."""
        if not is_traced(self.levels):
            if np.ndim(self.levels) != 1 or not np.size(self.levels):
                raise InputError("levels", self.levels, "expected a list of numbers >= 0")
            require_numbers("levels", self.levels, "finite numbers >= 0, not all 0", least=0.0)
            if not np.any(self.levels):
                raise InputError("levels", self.levels, "expected a level above 0")
        require_numbers("window_s", self.window_s, "seconds > 0", above=0.0)


@pytree
class Bursts(Profile):
    r"""Random levels of mean 1, drawn anew for each window and stream: minutes of much and little.

    .. math:: \Lambda_j \sim \mathrm{Gamma}(\text{shape} = 1 / cv^2,\ \text{mean} = 1)

    So the counts of windows have the index of dispersion :math:`1 + \lambda w\, cv^2` at
    :math:`\lambda` requests a second and :math:`w` seconds a window.

    Attributes:
      cv: coefficient of variation of the levels, from 0.01 to 1000.
      window_s: seconds that each holds.
      num_windows: windows until the same levels come again.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> import jaxsched as js
      >>> bursts = js.workloads.arrivals.Bursts(cv=0.5, num_windows=1000)
      >>> levels = np.asarray(bursts.drawn(jax.random.key(0)).levels)
      >>> round(float(levels.mean()), 1), round(float(levels.std()), 1)
      (1.0, 0.5)
    """

    cv: ArrayLike = 0.5
    window_s: ArrayLike = 60.0
    num_windows: int = static(default=1440)

    def drawn(self, key: jax.Array) -> Steps:
        """Draw the levels of one stream.

        Args:
          key: a jax random key of the stream.
        """
        with jax.enable_x64(True):
            shape = jnp.asarray(self.cv).astype(jnp.float64) ** -2
            shape = jnp.broadcast_to(shape, (self.num_windows,))
            return Steps(_gaps.unit_gaps("gamma", key, shape), self.window_s)

    def require(self) -> None:
        """Raise a ValueError for numbers that make no bursts; traced ones are not looked at."""
        require_numbers("cv", self.cv, "a number from 0.01 to 1000", least=0.01, most=1000.0)
        require_numbers("window_s", self.window_s, "seconds > 0", above=0.0)
        if not isinstance(self.num_windows, int) or self.num_windows < 1:
            raise InputError("num_windows", self.num_windows, "expected an integer >= 1")


@pytree
class Product(Profile):
    """The product of two profiles, such as bursts on a day.

    Attributes:
      first: a profile.
      second: another, independent of it where both are random.

    Example:
      >>> import jaxsched as js
      >>> day = js.workloads.arrivals.Diurnal(swing=0.5)
      >>> ramp = js.workloads.arrivals.Ramp(start=0.5, end=1.0, ramp_s=60.0)
      >>> float((day * ramp).level(0.0))
      0.75
    """

    first: Profile
    second: Profile

    def level(self, time_s: jax.Array) -> jax.Array:
        """Level at each time.

        Args:
          time_s: float64 seconds since the start, any shape.
        """
        return self.first.level(time_s) * self.second.level(time_s)

    def time_at(self, area: jax.Array) -> jax.Array:
        """Second at which the integral of the level reaches each area, infinite for never.

        The steps are walked through, window by window.

        Args:
          area: float64 numbers >= 0, ``[n]``, in ascending order.

        Raises:
          ValueError: more than one factor is not :class:`Steps`.
        """
        factors = self._factors()
        steps = [each for each in factors if isinstance(each, Steps)]
        others = [each for each in factors if not isinstance(each, Steps)]
        if len(others) > 1:
            raise self._without("time_at")
        levels = [jnp.asarray(each.levels) for each in steps]
        windows_s = jnp.stack([jnp.asarray(each.window_s) for each in steps])
        if not others:
            return walked(levels, windows_s, lambda time_s: time_s, area)
        # On the clock of the smooth factor the others still are steps.
        return others[0].time_at(walked(levels, windows_s, others[0].area, area))

    def _factors(self) -> list[Profile]:
        both = self.first, self.second
        return [
            factor
            for each in both
            for factor in (each._factors() if isinstance(each, Product) else [each])
        ]

    @property
    def peak(self) -> jax.Array:
        """The product of the peaks, which the product may never reach."""
        return self.first.peak * self.second.peak

    def drawn(self, key: jax.Array) -> Product:
        """Draw the profiles of one stream.

        Args:
          key: a jax random key of the stream.
        """
        keys = jax.random.split(key)
        return Product(self.first.drawn(keys[0]), self.second.drawn(keys[1]))

    def require(self) -> None:
        """Raise a ValueError for numbers that make no profile; traced ones are not looked at."""
        self.first.require()
        self.second.require()
