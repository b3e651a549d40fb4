"""One recording cut into traffic to learn from, to choose by and to report on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError, integer, wrong_shape
from jaxsched.model.given import require_requests
from jaxsched.model.requests import Requests


def parts(
    reqs: Requests,
    num_requests: int,
    streams: Sequence[int] = (8, 8, 8),
    *,
    rate: float | None = None,
) -> tuple[Requests, ...]:
    """Cut one long stream into windows that share no request, the earlier ones for learning.

    Windows are spread evenly over the recording. Each begins at second 0.

    Args:
      reqs: one stream ``[N]``.
      num_requests: requests in a window, n.
      streams: windows in each part, in order of time.
      rate: mean requests a second of every window, whose time is stretched or shortened, so that
        its bursts stay; None keeps the seconds.

    Returns:
      A part ``[B, n]`` for each number in ``streams``, such as train, validation and test.

    Raises:
      ValueError: there are too few requests, or a window has no rate.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays(np.arange(100.0), [64] * 100, [8] * 100)
      >>> train, validation, test = js.tuning.parts(reqs, 20, (2, 1, 1), rate=4.0)
      >>> train, float(test.arrival_s[0, -1])
      (Requests(leading=(2,), n=20, arrival_s=0..4.75), 4.75)
    """
    refuse_traced("parts looks at values", "call it outside", reqs)
    if np.ndim(require_requests(reqs).is_real) != 1:
        raise wrong_shape("reqs", np.shape(reqs.is_real), "expected one stream [N]")
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise InputError("rate", rate, "expected a finite number of requests a second > 0")
    integer("num_requests", num_requests, 2)
    for count in streams:
        integer("streams", count)
    windows, total = sum(streams), int(np.asarray(reqs.num_requests))
    if total < windows * num_requests:
        raise InputError(
            "num_requests",
            num_requests,
            f"expected at most {total // windows}, or fewer streams",
            finding=f"is {num_requests} in {windows} windows, of {total} requests",
        )
    begins = np.linspace(0, total - num_requests, windows).astype(int)
    rows = begins[:, None] + np.arange(num_requests)
    cut = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], reqs)
    arrival_s = cut.arrival_s - cut.arrival_s[:, :1]
    if rate is not None:
        span_s = arrival_s[:, -1:]
        if not (span_s > 0).all():
            raise InputError("reqs", "", "give seconds that differ", finding="have no rate")
        arrival_s = arrival_s * ((num_requests - 1) / rate / span_s)
    cut = dataclasses.replace(cut, arrival_s=arrival_s)
    ends = np.cumsum(streams)
    return tuple(cut[end - count : end] for count, end in zip(streams, ends, strict=True))
