"""What verbs are given: requests that arrive over time, not a backlog in their place."""

from __future__ import annotations

from typing import Any

from jaxsched._lib.errors import InputError
from jaxsched.model.instance import Instance
from jaxsched.model.requests import Requests


def require_requests(reqs: Any, argument: str = "reqs") -> Requests:
    """Return the requests, or raise for anything else, such as a backlog.

    Example:
      >>> import jaxsched as js
      >>> from jaxsched.model.given import require_requests
      >>> require_requests(js.Instance.from_lengths([3], [2], kv_capacity=8))
      Traceback (most recent call last):
      jaxsched._lib.errors.InputError: reqs is an Instance; expected jaxsched.Requests, ...
    """
    if isinstance(reqs, Requests):
        return reqs
    if isinstance(reqs, Instance):
        raise InputError(
            argument,
            reqs,
            "expected jaxsched.Requests, which arrive over time; inst.as_requests() makes them, or "
            "js.workloads.poisson(key, inst, rate)",
            finding="is an Instance",
        )
    raise InputError(argument, reqs, "expected jaxsched.Requests")
