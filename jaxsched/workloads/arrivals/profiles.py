"""How a rate changes over time: functions of seconds, as multiples of a rate."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError, choice, reject
from jaxsched._lib.pytree import pytree, static
from jaxsched.workloads.arrivals import _gaps

RampUp = Literal["linear", "exponential"]


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

    @property
    def peak(self) -> jax.Array:
        """The highest level."""
        return 1 + jnp.asarray(self.swing)

    def require(self) -> None:
        """Raise a ValueError for numbers that make no day; traced ones are not looked at."""
        _require("swing", self.swing, "a number from 0 to 1", least=0.0, most=1.0)
        _require("peak_at_s", self.peak_at_s, "finite seconds")
        _require("period_s", self.period_s, "seconds > 0", above=0.0)


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

    @property
    def peak(self) -> jax.Array:
        """The highest level."""
        return jnp.max(jnp.asarray(self.levels))

    def require(self) -> None:
        """Raise a ValueError for numbers that make no steps; traced ones are not looked at."""
        if not is_traced(self.levels):
            if np.ndim(self.levels) != 1 or not np.size(self.levels):
                raise InputError("levels", self.levels, "expected a list of numbers >= 0")
            _require("levels", self.levels, "finite numbers >= 0, not all 0", least=0.0)
            if not np.any(self.levels):
                raise InputError("levels", self.levels, "expected a level above 0")
        _require("window_s", self.window_s, "seconds > 0", above=0.0)


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

    @property
    def peak(self) -> jax.Array:
        """The higher end, and what rounding may add to it."""
        return jnp.maximum(jnp.asarray(self.start), jnp.asarray(self.end)) * (1 + 1e-6)

    def require(self) -> None:
        """Raise a ValueError for numbers that make no ramp; traced ones are not looked at."""
        choice("strategy", self.strategy, ("linear", "exponential"))
        for name in ("start", "end"):
            _require(name, getattr(self, name), "a finite number > 0", above=0.0)
        _require("ramp_s", self.ramp_s, "seconds > 0", above=0.0)


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
        _require("cv", self.cv, "a number from 0.01 to 1000", least=0.01, most=1000.0)
        _require("window_s", self.window_s, "seconds > 0", above=0.0)
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


def _require(
    name: str,
    value: Any,
    expectation: str,
    least: float = -np.inf,
    most: float = np.inf,
    above: float = -np.inf,
) -> None:
    if is_traced(value):
        return
    numbers = np.asarray(value, np.float64)
    is_good = np.isfinite(numbers) & (numbers >= least) & (numbers <= most) & (numbers > above)
    reject(name, numbers, ~is_good, f"expected {expectation}")
