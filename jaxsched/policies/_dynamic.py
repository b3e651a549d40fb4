"""Rules that look at a server anew in every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import jax

from jaxsched.engine.contract import Events, Observation
from jaxsched.policies._rule import NEEDS_CONCRETE_NUMBERS, require_priorities, rule_name


class DynamicRule:
    """A rule that :func:`dynamic` marked; it orders the queue of :func:`jaxsched.serve`.

    Attributes:
      name: what tables and errors call it.
      evicts: whether requests that wait push out running ones of larger numbers.
      has_state: whether it keeps a state.
    """

    def __init__(
        self,
        rule: Any,
        init: Callable[..., Any] | None = None,
        update: Callable[..., Any] | None = None,
        evicts: bool = False,
        name: str | None = None,
    ):
        self._rule, self._init, self._update = rule, init, update
        self.evicts, self.has_state = evicts, init is not None or hasattr(rule, "init")
        self.name = self.__name__ = rule_name(rule) if name is None else name

    @property
    def rule(self) -> Any:
        """The function or pytree that was marked."""
        return self._rule

    def __call__(self, obs: Any, state: Any = None, /) -> jax.Array:
        """Return a number for each request, ``[n]``, lower first; see :meth:`numbers`."""
        return self.numbers(obs, state)

    def numbers(self, obs: Observation, state: Any) -> jax.Array:
        """Return a number for each request of one server, lower first.

        Args:
          obs: what the server shows, ``[n]``.
          state: the rule's, or None for one that keeps none.

        Returns:
          Numbers ``[n]``.

        Raises:
          TypeError: ``obs`` is not an observation, the numbers are not real numbers ``[n]``, or
            the rule needs concrete numbers where they are traced.
        """
        if not isinstance(obs, Observation):
            raise TypeError(
                f"rule {self.name!r} is dynamic: it looks at a server in every step, and was given "
                f"{type(obs).__name__}; use it with js.serve(reqs, server, rule)"
            )
        given = (obs, state) if self.has_state else (obs,)
        numbers = self._traced(self._rule, *given)
        require_priorities(self.name, numbers, obs.prompt_tokens.shape[-1])
        return numbers

    def init(self, obs: Observation) -> Any:
        """Return the state of an empty server.

        Args:
          obs: of which only shapes count.

        Returns:
          A pytree of arrays, or None.
        """
        if not self.has_state:
            return None
        return self._traced(self._rule.init if self._init is None else self._init, obs)

    def update(self, state: Any, obs: Observation, events: Events) -> Any:
        """Return the state after arrivals have joined, or after a step.

        Args:
          state: the rule's.
          obs: what the server shows, ``[n]``.
          events: what has happened, ``[n]``.

        Returns:
          The new state.
        """
        if not self.has_state:
            return state
        update = self._rule.update if self._update is None else self._update
        return self._traced(update, state, obs, events)

    def _traced(self, function: Callable[..., Any], *given: Any) -> Any:
        """Call what a user wrote, and say it where it looks at numbers that are traced."""
        try:
            return function(*given)
        except NEEDS_CONCRETE_NUMBERS as error:
            raise TypeError(
                f"dynamic rule {self.name!r} needs concrete numbers (numpy, if, int() or the like "
                "on the values of an observation), and a dynamic rule is traced; write it with "
                "jax.numpy, such as jnp.where(obs.now_s > 1, .., ..) for an if"
            ) from error

    def __repr__(self) -> str:
        return f"dynamic({self.name})"


def _split(rule: DynamicRule) -> tuple[tuple[Any, ...], Any]:
    """Take the rule apart into what has leaves, if it does, and all that is static."""
    given, rest = rule._rule, (rule._init, rule._update, rule.evicts, rule.name)
    return ((), (given, *rest)) if jax.tree_util.all_leaves([given]) else ((given,), (None, *rest))


def _joined(static: Any, children: tuple[Any, ...]) -> DynamicRule:
    function, *rest = static
    return DynamicRule(children[0] if children else function, *rest)


jax.tree_util.register_pytree_node(DynamicRule, _split, _joined)


@overload
def dynamic(
    rule: Any,
    *,
    init: Callable[..., Any] | None = None,
    update: Callable[..., Any] | None = None,
    evicts: bool = False,
) -> DynamicRule: ...


@overload
def dynamic(
    *,
    init: Callable[..., Any] | None = None,
    update: Callable[..., Any] | None = None,
    evicts: bool = False,
) -> Callable[[Any], DynamicRule]: ...


def dynamic(
    rule: Any = None,
    *,
    init: Callable[..., Any] | None = None,
    update: Callable[..., Any] | None = None,
    evicts: bool = False,
) -> Any:
    """Mark a rule as dynamic: it looks at the requests at a server anew in every step.

    It is asked in steps in which somebody waits or memory may run out, after the arrivals have
    joined. Its numbers order the queue, ties by arrival, and unless the server's ``victim`` says
    otherwise the running request with the largest (number, arrival) is evicted. Rules see an
    :class:`~jaxsched.engine.contract.Observation`, with output lengths only as predicted.

    A rule that treats every request alike, by arithmetic on its own row and on scalars, is
    compiled into the engine. Any other, and any with a state, is slower: it is asked for all
    requests of a stream at once, between the parts of a step.

    Args:
      rule: takes an observation ``[n]``, and the state if there is one, and returns ``[n]``
        numbers, lower first. Written with ``jax.numpy``. A pytree with ``__call__`` has its leaves
        as parameters; one with methods ``init`` and ``update`` brings its own.
      init: takes an observation, of which only shapes count, and returns the state of an empty
        server: a pytree of arrays.
      update: takes the state, an observation and :class:`~jaxsched.engine.contract.Events`, and
        returns the new state. It is called when arrivals have joined, before the rule is asked,
        and when a step has given its tokens, while those that completed still run.
      evicts: let those that wait push out those that run. Before anybody gets tokens, while the
        first in line cannot start, whoever runs with the largest number is evicted, if that number
        is larger than the first's, and if without all such requests the first could start.

    Returns:
      The rule, for :func:`jaxsched.serve` and everything that takes one together with a server.
      Without ``rule``, a decorator.

    Example:
      >>> import jaxsched as js
      >>> @js.policies.dynamic
      ... def longest_wait_a_token(obs):
      ...     return -obs.waited_s / (obs.prompt_tokens + obs.output_tokens)
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 1.0], [60, 40, 20], [3, 3, 3])
      >>> server = js.Server(kv_capacity=96)
      >>> js.serve(reqs, server, longest_wait_a_token).completion_s.tolist()
      [3.0, 6.0, 6.0]
    """
    if rule is None:
        return lambda rule: dynamic(rule, init=init, update=update, evicts=evicts)
    if not callable(rule):
        raise TypeError(f"a dynamic rule is a callable, not {type(rule).__name__}: {rule!r}")
    own = [hasattr(rule, "init") or init is not None, hasattr(rule, "update") or update is not None]
    if own[0] != own[1]:
        raise TypeError(
            f"dynamic rule {rule_name(rule)!r}: give both init and update for a state, or neither"
        )
    return DynamicRule(rule, init, update, evicts)
