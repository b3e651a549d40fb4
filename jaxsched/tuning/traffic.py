"""Requests that arrive at a server, as estimators take them in place of instances."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxsched._lib.arrays import is_resident, refuse_traced
from jaxsched._lib.errors import InputError, wrong_shape
from jaxsched._lib.pytree import pytree
from jaxsched.engine.contract import Observation
from jaxsched.model.given import require_requests
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server, require_numbers, require_server
from jaxsched.policies import DynamicRule, serve
from jaxsched.policies.on_arrival import on_arrival


@pytree
class Traffic:
    """Streams of requests and the server that they come to; made by :func:`traffic`.

    Attributes:
      reqs: the requests, ``[B, n]``.
      server: what serves them, one.
      seen: what static rules are shown of them, ``[B, n]``.
    """

    reqs: Requests
    server: Server
    seen: Observation

    @property
    def prompt_tokens(self) -> Any:
        """Of the requests, int32 ``[B, n]``."""
        return self.reqs.prompt_tokens

    @property
    def kv_capacity(self) -> Any:
        """Of the server, one for each stream, int32 ``[B]``."""
        return self.seen.kv_capacity

    @property
    def is_real(self) -> Any:
        """Of the requests, bool ``[B, n]``."""
        return self.reqs.is_real

    def outcome(self, rule: Any, server: Server | None = None) -> Outcome:
        """Serve all streams by a rule.

        Args:
          rule: static or dynamic, or the name of one.
          server: another one, whose numbers broadcast; None for the traffic's own.

        Returns:
          The outcome, with the leading axes of both.
        """
        return serve(self.reqs, self.server if server is None else server, rule)

    def sampled(self, number: jax.Array) -> tuple[Requests, Outcome]:
        """Serve all streams in order of numbers, several times over.

        Args:
          number: ``[S, B, n]``, lower first.

        Returns:
          The requests of that shape, and their outcome.
        """
        xp = np if not is_resident(self.reqs) else jax.numpy
        with jax.enable_x64(True):
            reqs = jax.tree.map(lambda leaf: xp.broadcast_to(leaf, number.shape), self.reqs)
            reqs = reqs.replace(priority=xp.asarray(number))
        return reqs, serve(reqs, self.server, "priority")


def traffic(reqs: Requests, server: Server) -> Traffic:
    """Bring streams and the server that they come to together, to call an estimator with them.

    Args:
      reqs: the requests, ``[B, n]``.
      server: what serves them, one.

    Returns:
      The :class:`Traffic`.

    Raises:
      ValueError: there is no axis of streams, or there are several servers.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> backlog = js.workloads.mixed(jax.random.key(0), num_requests=40, batch=4)
      >>> reqs = js.workloads.poisson(jax.random.key(1), backlog, 2.0)
      >>> served = js.tuning.traffic(reqs, js.servers.get("llama3.1_8b_h100"))
      >>> rule = js.policies.linear_score(["log_prompt"], [1.0])
      >>> estimator = js.tuning.ScoreNoise(
      ...     noise=0.1, pairs=1, objective=js.tuning.objectives.mean_ttft())
      >>> estimator(rule, served, jax.random.key(2)).gradient.weights.shape
      (1,)
    """
    refuse_traced("traffic looks at values", "call it outside", reqs)
    if np.ndim(require_requests(reqs).is_real) != 2:
        raise wrong_shape("reqs", np.shape(reqs.is_real), "expected [B, n]; js.stack([reqs])")
    for leaf in jax.tree.leaves(require_server(server)):
        if np.ndim(leaf):
            finding = f"has numbers of shape {np.shape(leaf)}"
            raise InputError("server", server, "expected one server", finding=finding)
    if not is_resident(reqs):
        reqs = jax.tree.map(np.asarray, reqs)
    return Traffic(reqs, require_numbers(server), on_arrival(reqs, server))


def shown_to_rules(instances: Instance | Traffic) -> Instance | Observation:
    """Return what a rule is shown of instances ``[B, n]``, or of streams."""
    return instances.seen if isinstance(instances, Traffic) else instances


def require_backlogs(estimator: Any, instances: Any) -> None:
    """Raise for streams where an estimator takes a relaxation, which has the form of a backlog."""
    if isinstance(instances, Traffic):
        raise TypeError(
            f"estimator {type(estimator).__name__} goes through a relaxation of a backlog, and "
            "requests arrive over time; take TangentNoise, ScoreNoise, PlackettLuce or "
            "EvolutionStrategies"
        )


def some_of(instances: Any, rows: Any) -> Any:
    """Take some of the instances or streams."""
    if isinstance(instances, Traffic):
        rows = np.asarray(rows)
        reqs, seen = (
            jax.tree.map(lambda leaf: leaf[rows], part) for part in (instances.reqs, instances.seen)
        )
        return instances.replace(reqs=reqs, seen=seen)  # pyright: ignore[reportAttributeAccessIssue]
    return jax.tree.map(lambda leaf: leaf[rows], instances)


def is_dynamic(rule: Any) -> bool:
    """Whether a rule gives no number once for all, but one in every step."""
    return isinstance(rule, DynamicRule)
