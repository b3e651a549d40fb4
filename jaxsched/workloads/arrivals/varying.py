"""Arrivals at a rate that changes over time."""

from __future__ import annotations

from typing import Any, get_args

import jax
import jax.numpy as jnp

from jaxsched._lib.errors import choice
from jaxsched.model.requests import Requests
from jaxsched.workloads.arrivals._gaps import GapLaw
from jaxsched.workloads.arrivals._rescaling import rescaled
from jaxsched.workloads.arrivals._streams import (
    Lengths,
    arriving,
    cv_of,
    leading_of,
    numbers_of,
    rate_of,
)
from jaxsched.workloads.arrivals._thinning import thinned
from jaxsched.workloads.arrivals.profiles import Bursts, Profile
from jaxsched.workloads.arrivals.smooth import Diurnal, Ramp


def varying(
    key: jax.Array,
    inst: Lengths,
    rate: Any,
    profile: Profile,
    *,
    gap_cv: Any = None,
    law: GapLaw = "gamma",
) -> Requests:
    r"""Have requests arrive at a rate that follows a profile: evenly, at random or in bursts.

    .. math:: \lambda(t) = \text{rate} \cdot \ell(t) \le \text{rate} \cdot \text{peak}, \qquad
              \Lambda(t) = \int_0^t \lambda(u)\, du

    Without ``gap_cv`` it is a Poisson process, by **thinning**. Candidates come as a Poisson
    process at the highest rate. Each stays with probability :math:`\ell(t) / \text{peak}`,
    independently. It takes about peak over mean times as many draws as there are requests.

    With ``gap_cv`` it is a renewal process, by **time rescaling**. Gaps :math:`g_i` have mean 1
    and this coefficient of variation, and request :math:`i` comes when the cumulated rate says so:

    .. math:: r_i = \Lambda^{-1}(g_1 + \dots + g_i)

    The first gap is a residual one, of a process that has always run. So
    :math:`\Lambda(t)` requests are to be expected up to second t. Gaps in seconds spread more,
    as the rate changes too.

    Both are exact: nothing is put on a grid. The clock of the profile starts at second 0, and
    does not follow the rate: a day stays a day. The first request arrives after second 0. Equal
    keys at two rates give the same candidates, but keep others, or the same gaps :math:`g_i`:
    then every request comes earlier at the higher rate. :func:`at_rate` scales one draw instead,
    with its day.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`.
      rate: requests a second at level 1, one or one a stream ``[..]``; it may be traced.
      profile: the level over time, the same for all streams: :class:`Diurnal`, :class:`Steps`,
        :class:`Ramp`, :class:`Bursts`, or a product of them. Bursts are drawn for each stream.
      gap_cv: coefficient of variation of the gaps :math:`g_i`, from 0.01 to 1000, one or one a
        stream; it may be traced. Then at most one factor of a product may change smoothly.
      law: of these gaps, "gamma" or "weibull".

    Returns:
      The requests ``[.., n]``, in the order of the instance. Those that would never come, since
      the rate sinks to nothing, arrive at infinity.

    Raises:
      ValueError: a number of the profile, a rate or ``gap_cv`` is out of range, there is no such
        law, or ``gap_cv`` is given and the profile cannot be cumulated.

    Example:
      >>> import jax, numpy as np
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=20_000)
      >>> day = js.workloads.arrivals.Diurnal(swing=0.5, period_s=1000.0)
      >>> reqs = js.workloads.arrivals.varying(jax.random.key(1), inst, 10.0, day)
      >>> counts, _ = np.histogram(np.asarray(reqs.arrival_s) % 1000, bins=4, range=(0, 1000))
      >>> (counts / counts.mean()).round(1).tolist()
      [1.3, 0.7, 0.7, 1.3]
      >>> reqs = js.workloads.arrivals.varying(jax.random.key(1), inst, 10.0, day, gap_cv=3.0)
      >>> round(js.workloads.arrivals.describe(reqs)["cv_of_gaps"])
      3

    Source:
      Lewis and Shedler, *Simulation of nonhomogeneous Poisson processes by thinning*, Naval
      Research Logistics Quarterly, 1979. Gerhardt and Nelson, *Transforming renewal processes for
      simulation of nonstationary arrival processes*, INFORMS Journal on Computing, 2009: their
      inversion method, with an equilibrium renewal process.
    """
    choice("law", law, get_args(GapLaw))
    profile.require()
    leading, n = leading_of(inst), inst.is_real.shape[-1]
    with jax.enable_x64(True):
        profile = numbers_of(profile, jnp.float64)
        of_each = rate_of(rate, leading)
        if gap_cv is None:
            return arriving(inst, thinned(key, of_each, profile, leading, n))
        cv = cv_of(gap_cv, leading, "gap_cv")
        return arriving(inst, rescaled(key, of_each, profile, law, cv, leading, n))


def diurnal(
    key: jax.Array,
    inst: Lengths,
    rate: Any,
    *,
    swing: Any = 0.5,
    peak_at_s: Any = 0.0,
    period_s: Any = 86_400.0,
    gap_cv: Any = None,
    law: GapLaw = "gamma",
) -> Requests:
    """Have requests arrive at the rate of a day: :func:`varying` with :class:`Diurnal`.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`.
      rate: requests a second, averaged over a day.
      swing: from 0 to 1, see :class:`Diurnal`.
      peak_at_s: second of the highest rate.
      period_s: seconds from peak to peak.
      gap_cv: None for a Poisson process, or the spread of gaps, see :func:`varying`.
      law: of these gaps, "gamma" or "weibull".

    Returns:
      The requests ``[.., n]``, in the order of the instance.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=100)
      >>> js.workloads.arrivals.diurnal(jax.random.key(1), inst, 1.0, swing=0.9).prompt_tokens.shape
      (100,)
    """
    return varying(key, inst, rate, Diurnal(swing, peak_at_s, period_s), gap_cv=gap_cv, law=law)


def ramp(
    key: jax.Array,
    inst: Lengths,
    rate: Any,
    *,
    start: Any = 0.1,
    end: Any = 1.0,
    ramp_s: Any = 600.0,
    strategy: Any = "linear",
    gap_cv: Any = None,
    law: GapLaw = "gamma",
) -> Requests:
    """Have requests arrive at a rate that grows or falls: :func:`varying` with :class:`Ramp`.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`.
      rate: requests a second at level 1.
      start: the level at second 0.
      end: the level from ``ramp_s`` on.
      ramp_s: seconds that it takes.
      strategy: "linear" or "exponential".
      gap_cv: None for a Poisson process, or the spread of gaps, see :func:`varying`.
      law: of these gaps, "gamma" or "weibull".

    Returns:
      The requests ``[.., n]``, in the order of the instance.

    Raises:
      ValueError: a number is out of range, or there is no such strategy.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=100)
      >>> js.workloads.arrivals.ramp(jax.random.key(1), inst, 1.0, ramp_s=60.0).prompt_tokens.shape
      (100,)
    """
    return varying(key, inst, rate, Ramp(start, end, ramp_s, strategy), gap_cv=gap_cv, law=law)


def bursts(
    key: jax.Array,
    inst: Lengths,
    rate: Any,
    *,
    cv: Any = 0.5,
    window_s: Any = 60.0,
    num_windows: int = 1440,
    gap_cv: Any = None,
    law: GapLaw = "gamma",
) -> Requests:
    """Have requests arrive at a random rate, anew each window: :func:`varying` with bursts.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`.
      rate: mean requests a second.
      cv: coefficient of variation of the rate, see :class:`Bursts`.
      window_s: seconds that each level holds.
      num_windows: windows until the same levels come again.
      gap_cv: None for a Poisson process, or the spread of gaps, see :func:`varying`.
      law: of these gaps, "gamma" or "weibull".

    Returns:
      The requests ``[.., n]``, in the order of the instance.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=100)
      >>> js.workloads.arrivals.bursts(jax.random.key(1), inst, 1.0, cv=0.8).prompt_tokens.shape
      (100,)
    """
    return varying(key, inst, rate, Bursts(cv, window_s, num_windows), gap_cv=gap_cv, law=law)
