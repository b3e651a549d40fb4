"""How evenly a server treats the clients that share it."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched.metrics._accounts import account, largest_difference
from jaxsched.metrics.alone import generated_tokens
from jaxsched.metrics.paired import paired, spread
from jaxsched.model.given import require_requests
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Status
from jaxsched.model.server import Server


class Fairness(NamedTuple):
    """What :func:`service_fairness` measures, numpy arrays for C clients.

    Attributes:
      client: int64 ``[C]``, the clients of all streams, ascending.
      num_requests: int64 ``[.., C]``, requests of each.
      service: int64 ``[.., C]``, what each got in the end.
      mean_ttft_s: float64 ``[.., C]``, NaN for clients that got nothing.
      largest_difference: float64 ``[..]``, see :func:`service_fairness`; 0 if no two clients
        ever waited at the same time.
      jain_service: float64 ``[..]``, Jain's index of ``service``; 1 is even.
      jain_ttft: float64 ``[..]``, Jain's index of ``mean_ttft_s``.
    """

    client: np.ndarray
    num_requests: np.ndarray
    service: np.ndarray
    mean_ttft_s: np.ndarray
    largest_difference: np.ndarray
    jain_service: np.ndarray
    jain_ttft: np.ndarray


def service_fairness(reqs: Requests, out: Outcome, *, server: Server | None = None) -> Fairness:
    r"""Measure how evenly clients are served, by the service that virtual token counters count.

    A prompt token is a service of 1, to its client and at once when the request is first
    scheduled; an output token one of 2. Output tokens count evenly from the first to the last.
    Let :math:`W_u(t_1, t_2)` be the service that client :math:`u` gets in that time. The largest
    difference is

    .. math:: \max_{u, v, t_1, t_2} |W_u(t_1, t_2) - W_v(t_1, t_2)|

    over clients that both have a request waiting all the time. Jain's index of :math:`C` values
    is :math:`(\sum x_u)^2 / (C \sum x_u^2)`, over the clients of a stream that got any service.

    Only requests that completed count as service, also those that are not ``is_counted``. A
    request that was never scheduled, and not refused, waits until the end.

    Args:
      reqs: the requests with their ``client``, ``[.., n]``.
      out: their outcome in seconds, ``[.., n]``.
      server: what served them, whose ``max_model_len`` may have cut outputs; None for no cut.

    Returns:
      A :class:`Fairness`.

    Raises:
      ValueError: the requests have no clients, or the outcome is not theirs.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0], [300, 20], [5, 1], client=[0, 1])
      >>> out = js.Outcome(
      ...     arrival=np.array([0.0, 0.0]), first_scheduled=np.array([0.0, 1.0]),
      ...     first_token=np.array([0.5, 1.5]), completion=np.array([2.5, 1.5]),
      ...     num_preemptions=np.array([0, 0]), status=np.array([0, 0]), is_real=np.array([1, 1]))
      >>> fairness = js.metrics.service_fairness(reqs, out)
      >>> fairness.service.tolist(), fairness.mean_ttft_s.tolist()
      ([310, 22], [0.5, 1.5])

    Source:
      Sheng et al., Fairness in Serving Large Language Models, OSDI 2024, arXiv:2401.00588. Jain
      et al., A Quantitative Measure of Fairness, DEC TR-301, 1984.
    """
    if require_requests(reqs).client is None:
        raise InputError(
            "reqs.client", None, "give Requests.from_arrays(.., client=..)", finding="is missing"
        )
    reqs, out = paired(reqs, out)
    leading = out.completion.shape[:-1]
    output = generated_tokens(reqs, None if server is None else spread(server, leading))
    clients = np.unique(reqs.client[reqs.is_real]).astype(np.int64)
    measured = [
        _of_stream(clients, reqs[stream], output[stream], out[stream])
        for stream in np.ndindex(leading)
    ]
    num_requests, service, mean_ttft_s, largest = (
        np.reshape(each, (*leading, *np.shape(each)[1:])) for each in zip(*measured, strict=True)
    )
    return Fairness(
        client=clients,
        num_requests=num_requests,
        service=service,
        mean_ttft_s=mean_ttft_s,
        largest_difference=largest,
        jain_service=_jain(np.where(service > 0, service, np.nan)),
        jain_ttft=_jain(mean_ttft_s),
    )


def _jain(values: np.ndarray) -> np.ndarray:
    """Jain's index of what is not NaN; NaN if nothing is, or all are 0."""
    count = np.count_nonzero(~np.isnan(values), axis=-1)
    with np.errstate(invalid="ignore"):
        return np.nansum(values, axis=-1) ** 2 / (count * np.nansum(values**2, axis=-1))


def _of_stream(
    clients: np.ndarray, reqs: Requests, output: np.ndarray, out: Outcome
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Count the requests and the service of each client, its mean TTFT, and the difference."""
    is_served = reqs.is_real & (out.status == Status.OK)
    is_waiting = reqs.is_real & (out.status != Status.REFUSED)
    num_requests, mean_ttft_s, accounts = [], [], []
    for client in clients:
        own = reqs.client == client
        num_requests.append(np.count_nonzero(own & reqs.is_real))
        ttft = out.ttft[own & is_served]
        mean_ttft_s.append(ttft.mean() if ttft.size else np.nan)
        accounts.append(account(reqs, output, out, own & is_served, own & is_waiting))
    service = [each.total for each in accounts]
    largest = max((largest_difference(u, v) for u, v in combinations(accounts, 2)), default=0.0)
    return np.array(num_requests), np.array(service), np.array(mean_ttft_s), largest
