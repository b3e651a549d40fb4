"""Parametric rules made better by gradient descent over simulated instances or streams."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxsched._lib.progress import progress_bar
from jaxsched.model.instance import Instance
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server
from jaxsched.policies import rule_name
from jaxsched.tuning import _checkpoint
from jaxsched.tuning._evaluate import default_objective
from jaxsched.tuning._history import History, Tuned
from jaxsched.tuning._minibatches import Minibatches
from jaxsched.tuning._parameters import as_box, as_parameters, has_parameters, require_finite
from jaxsched.tuning._sides import Sides, checked_sides, require_usable
from jaxsched.tuning.estimators import Estimator, default_estimator
from jaxsched.tuning.estimators.estimate import as_estimate, at_step, pulled_back
from jaxsched.tuning.objectives import Objective, natural
from jaxsched.tuning.settings import Settings
from jaxsched.tuning.traffic import is_dynamic, shown_to_rules


class _State(NamedTuple):
    step: Any
    rule: Any
    optimizer_state: Any
    best_rule: Any
    history: History
    setting: Any = None  # a combination of the settings, where they are tuned
    best_setting: Any = None


class _Taken(NamedTuple):
    """A step, whose numbers may not be known yet.

    Attributes:
      step: steps before it.
      rule: before it.
      value: the estimator's, of the rule before.
      gradient: likewise.
      moved: the rule that came of it.
      are_finite: whether gradient and moved rule are.
    """

    step: int
    rule: Any
    value: Any
    gradient: Any
    moved: Any
    are_finite: jax.Array


@functools.cache
def _default_optimizer() -> optax.GradientTransformation:
    return optax.adam(0.05)


def tune(
    rule: Any,
    train: Instance | Requests,
    validation: Instance | Requests,
    key: jax.Array,
    *,
    test: Instance | Requests | None = None,
    server: Server | None = None,
    settings: Settings | None = None,
    objective: Objective | None = None,
    estimator: Estimator | None = None,
    optimizer: optax.GradientTransformation | None = None,
    steps: int = 200,
    minibatch_size: int | None = None,
    bounds: tuple[Any, Any] | None = None,
    validate_every: int = 10,
    patience: int | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Tuned:
    r"""Tune a rule's parameters; return the best *hard* rule on held-out instances.

    .. math:: \theta \leftarrow \Pi_{[l, u]}\big(\theta + \mathrm{optimizer}(\hat g(\theta))\big)

    :math:`\hat g` is the estimator's gradient on a minibatch, :math:`\Pi` the projection on the
    box. Every ``validate_every`` steps the rule itself, not a relaxation of it, orders the
    held-out instances, and the simulator says what it is worth. The rule returned is the best of
    those, the one that went in included: on ``validation`` tuning never makes a rule worse.

    Requests are served by ``server`` instead, and ``settings`` of it are tuned beside the rule.
    At the start, and after the validations number 1, 2, 4, 8 and so on, all combinations run a
    race on ``train`` with the rule of then; the winner serves from there on. What is returned is
    the best pair of rule and settings. With ``settings``, a rule without parameters may be given,
    such as ``"fcfs"``: no step is made, and one race chooses its settings.

    Streams that share requests are refused: what a rule was chosen by says little of what it is
    worth.

    A run depends on its arguments alone. With ``checkpoint_dir`` its state is kept there at
    every validation, and the same call again goes on from it, to the same bits. A call with
    another rule, estimator, objective, key or other instances is refused. Functions are compared
    by name and by what a ``functools.partial`` gives them; what a closure holds is not seen (a
    schedule, or an optimizer beyond the form of its state), so give a changed one a folder of its
    own.

    Args:
      rule: a pytree of float leaves with ``__call__``: ``[n]`` instance to ``[n]`` priorities; for
        requests also a dynamic one. :func:`js.tuning.in_logs` suits constants of any unit. With
        ``settings``, also a rule without leaves or a rule's name.
      train: instances or requests ``[B, n]`` to learn from.
      validation: held-out instances or requests ``[.., n]``.
      key: of all randomness.
      test: more of them, which the rule returned orders once, at the end.
      server: what serves the requests, one.
      settings: values to try by the names of the server's settings, such as
        ``{"max_num_batched_tokens": (512, 2048)}``; see ``js.tuning.TUNABLE``.
      objective: what to make small, ``(inst, out) -> [..]``; see :mod:`js.tuning.objectives`. By
        default ``mean_latency`` of instances, and ``objectives.mean_e2e()`` of requests.
      estimator: how to get gradients; by default :func:`js.tuning.default_estimator` of the
        objective. One that is given has an objective of its own to descend; ``objective``
        then judges the validations. Its noise or temperature may be an optax schedule.
      optimizer: any from optax; by default ``optax.adam(0.05)``.
      steps: updates to make.
      minibatch_size: instances a step, drawn without replacement in each pass over ``train``; None
        for all.
      bounds: lowest and highest values of the parameters: two numbers, or two pytrees that
        match the rule or lead its structure.
      validate_every: steps between validations; the last step is validated too.
      patience: stop after this many validations in a row without a new best; None never.
      checkpoint_dir: where the state is kept; None for nowhere.
      progress: show a bar with train, validation and best; None if stderr is a terminal.

    Returns:
      :class:`Tuned`: ``rule`` and ``history``, and of requests ``server`` and ``settings``.

    Raises:
      ValueError: a number is out of range; the rule has no parameters and there are no
        ``settings``, or it starts outside ``bounds``; requests have no server, or appear in two
        of train, validation and test; a gradient or a parameter became NaN or infinite (step and
        leaf are named); or the checkpoint belongs to another run.
      TypeError: a leaf is not of floats, the rule returns integers where slopes are asked for, or
        the estimator returns something else than an estimate.

    Example:
      >>> import chex, jax, jax.numpy as jnp
      >>> import jaxsched as js
      >>> @chex.dataclass(frozen=True)
      ... class TiltedVolume:
      ...     weight: jax.Array
      ...     def __call__(self, inst):
      ...         return jnp.log(inst.volume) + self.weight * jnp.log(inst.prompt_tokens)
      >>> keys = jax.random.split(jax.random.key(0), 3)
      >>> train = js.workloads.mixed(keys[0], num_requests=40, batch=8)
      >>> held_out = js.workloads.mixed(keys[1], num_requests=40, batch=8)
      >>> rule = TiltedVolume(weight=-jnp.ones(()))
      >>> tuned = js.tune(rule, train=train, validation=held_out, key=keys[2], steps=20)
      >>> bool(tuned.history.best[-1] < tuned.history.validation[0])
      True

    Source:
      Ours. The optimizers are those of DeepMind et al., *The DeepMind JAX Ecosystem*, 2020.
    """
    require_usable(train, steps, minibatch_size, validate_every, patience)
    objective = default_objective(train) if objective is None else objective
    if settings is not None and not has_parameters(rule):
        sides = checked_sides(train, validation, test, server, settings, objective)
        return _tuned(_validated_and_set(_start(rule, None, sides), sides, 1), sides)
    rule = as_parameters(rule)
    low, high = as_box(rule, bounds)
    estimator = default_estimator(objective, rule) if estimator is None else estimator
    sides = checked_sides(train, validation, test, server, settings, objective)
    descend = optax.with_extra_args_support(optimizer or _default_optimizer())
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    minibatches = Minibatches(sides.train, minibatch_size, *jax.random.split(key))
    state = _start(rule, descend.init(rule), sides)
    run, resumed = "", None
    if folder is not None:
        run = _checkpoint.fingerprint(
            *(rule, estimator, objective, state.optimizer_state, low, high),
            *(key, train, validation, minibatch_size, validate_every),
            *([server, settings, rule_name(rule)] if server is not None else []),
        )
        resumed = _checkpoint.load(folder, run, state)
        _require_consistent(resumed, folder)
    state = _validated_and_set(state, sides, validate_every) if resumed is None else resumed

    def stepped(state: _State) -> tuple[_State, _Taken]:
        step = int(state.step)
        instances, step_key = minibatches.at(step)
        instances = sides.at(instances, state.setting)
        returned = at_step(estimator, step)(state.rule, instances, step_key)
        value, gradient, _ = as_estimate(returned, estimator)
        moved, optimizer_state, are_finite = _moved(
            descend, state.rule, state.optimizer_state, gradient, value, low, high
        )
        taken = _Taken(step, state.rule, value, gradient, moved, are_finite)
        moved_state = state._replace(step=np.int64(step + 1), rule=moved)
        return moved_state._replace(optimizer_state=optimizer_state), taken

    def run_to(state: _State, last: int) -> _State:
        """Take steps without looking at what they give, and then look."""
        taken: list[_Taken] = []
        try:
            while state.step < last:
                state, step = stepped(state)
                taken.append(step)
                bar.update(1)
        finally:  # what fails on numbers that are not finite is not where they came from
            values = _values(taken, minibatches)
        history = state.history._replace(train=np.append(state.history.train, values))
        return state._replace(history=history)

    with progress_bar(steps, "steps", progress) as bar:
        bar.update(int(state.step))
        while state.step < steps and not _is_out_of_patience(state.history, patience):
            until_validation = validate_every - int(state.step) % validate_every
            state = run_to(state, min(int(state.step) + until_validation, steps))
            state = _validated_and_set(state, sides, validate_every)
            if folder is not None:
                _checkpoint.save(folder, run, state)
            bar.set_description_str(_described(state.history, objective))
    return _tuned(state, sides)


def _start(rule: Any, optimizer_state: Any, sides: Sides) -> _State:
    own = None if sides.field is None else np.int64(0)  # the server's settings
    history = History(
        train=np.zeros(0),
        step=np.zeros(0, np.int64),
        validation=np.zeros(0),
        setting=None if own is None else np.zeros(0, np.int64),
    )
    return _State(np.int64(0), rule, optimizer_state, rule, history, own, own)


def _tuned(state: _State, sides: Sides) -> Tuned:
    rule, setting, test = state.best_rule, state.best_setting, sides.test
    return Tuned(
        rule=rule,
        history=state.history,
        server=sides.with_(setting),
        settings=None if sides.field is None else sides.field.as_dict(int(setting)),
        test=None if test is None else sides.value(test, rule, setting),
    )


def _values(taken: Sequence[_Taken], minibatches: Minibatches) -> list[float]:
    """Bring the values of steps to the host, or raise for the first that was not finite."""
    are_finite = jax.device_get([each.are_finite for each in taken])
    for each, is_finite in zip(taken, are_finite, strict=True):
        if not is_finite:
            suspects = [("gradient", each.gradient), ("rule", each.moved)]
            if not is_dynamic(each.rule):
                # Its own slopes first: an estimator may have spread them over all leaves.
                seen = shown_to_rules(minibatches.at(each.step)[0])
                ones = jnp.ones(seen.prompt_tokens.shape, jnp.float32)
                suspects.insert(0, ("gradient", pulled_back(each.rule, seen, ones)))
            for what, numbers in suspects:
                require_finite(what, numbers, each.step, each.value)
    return [float(value) for value in jax.device_get([each.value for each in taken])]


@functools.partial(jax.jit, static_argnums=0)
def _moved(
    optimizer: optax.GradientTransformationExtraArgs,
    rule: Any,
    optimizer_state: Any,
    gradient: Any,
    value: Any,
    low: Any,
    high: Any,
) -> tuple[Any, Any, jax.Array]:
    """Take a step, and say whether the gradient and the rule that comes of it are finite."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # optax's own
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, rule, value=value)
        moved = optax.apply_updates(rule, updates)
    moved = jax.tree.map(jnp.clip, moved, low, high)
    leaves = jax.tree.leaves((gradient, moved))
    are_finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
    return moved, optimizer_state, are_finite


def _validated_and_set(state: _State, sides: Sides, validate_every: int) -> _State:
    """Judge the rule, and when it is time let its settings run their race."""
    state = _validated(state, sides)
    number, rest = divmod(int(state.step), validate_every)
    is_time = not rest and number & (number - 1) == 0  # 0, 1, 2, 4, 8, ..
    if sides.field is None or not is_time:
        return state
    setting = sides.searched(state.rule, state.setting)
    if setting == state.setting:
        return state
    return _validated(state._replace(setting=setting), sides)


def _validated(state: _State, sides: Sides) -> _State:
    value = sides.value(sides.validation, state.rule, state.setting)
    before = state.history
    is_best = not before.validation.size or value < before.validation.min()
    history = before._replace(
        step=np.append(before.step, state.step), validation=np.append(before.validation, value)
    )
    if before.setting is not None:
        history = history._replace(setting=np.append(before.setting, state.setting))
    state = state._replace(history=history)
    return state._replace(best_rule=state.rule, best_setting=state.setting) if is_best else state


def _require_consistent(state: _State | None, folder: Path) -> None:
    """Raise unless a state that was kept can have come about."""
    if state is None:
        return
    step, (train, at, validation, _) = int(state.step), state.history
    is_counted = len(train) == step and len(at) == len(validation) >= 1
    is_ascending = is_counted and at[0] == 0 and at[-1] <= step and (np.diff(at) >= 0).all()
    rules = jax.tree.leaves((state.rule, state.best_rule))
    if not is_ascending or not all(np.isfinite(leaf).all() for leaf in rules):
        raise ValueError(
            f"{folder}: the checkpoint holds a state that no run leads to; delete it, or choose "
            "another checkpoint_dir"
        )


def _is_out_of_patience(history: History, patience: int | None) -> bool:
    since_best = history.validation.size - 1 - int(np.argmin(history.validation))
    return patience is not None and since_best >= patience


def _described(history: History, objective: Objective) -> str:
    train, validation, best = (
        natural(objective, values[-1])
        for values in (history.train, history.validation, history.best)
    )
    return f"train {train:.5g}  validation {validation:.5g}  best {best:.5g} "
