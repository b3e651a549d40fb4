"""Parametric rules made better by gradient descent over simulated instances."""

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

from jaxsched._lib.arrays import is_resident
from jaxsched._lib.errors import MAX_INT32, InputError, integer, wrong_shape
from jaxsched._lib.progress import progress_bar
from jaxsched.engine.simulate import simulate
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.model.schedule import require_ok
from jaxsched.policies import prioritize, rule_name
from jaxsched.policies.argument_order import inst_first
from jaxsched.tuning import _checkpoint
from jaxsched.tuning._parameters import as_box, as_parameters, require_finite
from jaxsched.tuning.estimators import Estimator, default_estimator
from jaxsched.tuning.estimators.estimate import as_estimate, at_step, pulled_back
from jaxsched.tuning.objectives import Objective, mean_latency


class History(NamedTuple):
    """What happened in a run.

    Attributes:
      train: float64 ``[steps]``, the estimator's value of each step's minibatch, before the step.
      step: int64 ``[validations]``, steps made before each validation; the first is 0.
      validation: float64 ``[validations]``, mean objective of the hard rule on held-out instances.
    """

    train: np.ndarray
    step: np.ndarray
    validation: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """The lowest validation so far, ``[validations]``."""
        return np.minimum.accumulate(self.validation)

    @property
    def best_step(self) -> int:
        """Steps made before the best validation; of equals, the first."""
        return int(self.step[np.argmin(self.validation)])


class Tuned(NamedTuple):
    """The rule that was best on the held-out instances, and how it was found.

    Attributes:
      rule: a rule of the type that went in.
      history: the :class:`History`.
    """

    rule: Any
    history: History


class _State(NamedTuple):
    step: Any
    rule: Any
    optimizer_state: Any
    best_rule: Any
    history: History


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
    train: Instance,
    validation: Instance,
    key: jax.Array,
    *,
    objective: Objective = mean_latency,
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

    A run depends on its arguments alone. With ``checkpoint_dir`` its state is kept there at
    every validation, and the same call again goes on from it, to the same bits. A call with
    another rule, estimator, objective, key or other instances is refused. Functions are compared
    by name and by what a ``functools.partial`` gives them; what a closure holds is not seen (a
    schedule, or an optimizer beyond the form of its state), so give a changed one a folder of its
    own.

    Args:
      rule: a pytree of float leaves with ``__call__``: ``[n]`` instance to ``[n]`` priorities.
      train: instances ``[B, n]`` to learn from.
      validation: held-out instances ``[.., n]``.
      key: of all randomness.
      objective: what to make small, ``(inst, sched) -> [..]``; see :mod:`js.tuning.objectives`.
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
      :class:`Tuned`: ``rule`` and ``history``.

    Raises:
      ValueError: a number is out of range; the rule has no parameters or starts outside
        ``bounds``; a gradient or a parameter became NaN or infinite (step and leaf are named);
        or the checkpoint belongs to another run.
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
    rule = as_parameters(rule)
    _require_usable(train, steps, minibatch_size, validate_every, patience)
    low, high = as_box(rule, bounds)
    estimator = default_estimator(objective) if estimator is None else estimator
    descend = optax.with_extra_args_support(optimizer or _default_optimizer())
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    if is_resident(train):
        train = jax.device_put(train)  # once, and not in every step
    minibatches = _Minibatches(train, minibatch_size, *jax.random.split(key))

    state = _State(
        step=np.int64(0),
        rule=rule,
        optimizer_state=descend.init(rule),
        best_rule=rule,
        history=History(train=np.zeros(0), step=np.zeros(0, np.int64), validation=np.zeros(0)),
    )
    run, resumed = "", None
    if folder is not None:
        run = _checkpoint.fingerprint(
            *(rule, estimator, objective, state.optimizer_state, low, high),
            *(key, train, validation, minibatch_size, validate_every),
        )
        resumed = _checkpoint.load(folder, run, state)
        _require_consistent(resumed, folder)
    state = _validated(state, validation, objective) if resumed is None else resumed

    def stepped(state: _State) -> tuple[_State, _Taken]:
        step = int(state.step)
        instances, step_key = minibatches.at(step)
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
            state = _validated(state, validation, objective)
            if folder is not None:
                _checkpoint.save(folder, run, state)
            bar.set_description_str(_described(state.history))
    return Tuned(rule=state.best_rule, history=state.history)


def _values(taken: Sequence[_Taken], minibatches: _Minibatches) -> list[float]:
    """Bring the values of steps to the host, or raise for the first that was not finite."""
    are_finite = jax.device_get([each.are_finite for each in taken])
    for each, is_finite in zip(taken, are_finite, strict=True):
        if not is_finite:
            instances, _ = minibatches.at(each.step)
            ones = jnp.ones(instances.prompt_tokens.shape, jnp.float32)
            # Its own slopes first: an estimator may have spread them over all leaves.
            own = pulled_back(each.rule, instances, ones)
            for what, numbers in (
                ("gradient", own),
                ("gradient", each.gradient),
                ("rule", each.moved),
            ):
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


def evaluate(inst: Instance, rule: Any, objective: Objective = mean_latency) -> np.ndarray:
    """Objective of the hard rule: it orders each instance and the simulator schedules it.

    Args:
      inst: instances ``[.., n]``.
      rule: a rule, or the name of one.
      objective: ``(inst, sched) -> [..]``.

    Returns:
      float64 ``[..]``.

    Raises:
      ValueError: the rule gave a NaN.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> float(js.tuning.evaluate(inst, "fcfs"))
      3.0
    """
    inst, rule = inst_first("evaluate", inst, rule)
    sched = simulate(inst, prioritize(inst, rule))
    require_ok(sched, f"rule {rule_name(rule)!r}")
    return np.asarray(objective(inst, Outcome.from_schedule(inst, sched)), np.float64)


def _validated(state: _State, validation: Instance, objective: Objective) -> _State:
    value = evaluate(validation, state.rule, objective).mean()
    before = state.history
    is_best = not before.validation.size or value < before.validation.min()
    history = before._replace(
        step=np.append(before.step, state.step), validation=np.append(before.validation, value)
    )
    best_rule = state.rule if is_best else state.best_rule
    return state._replace(best_rule=best_rule, history=history)


def _require_consistent(state: _State | None, folder: Path) -> None:
    """Raise unless a state that was kept can have come about."""
    if state is None:
        return
    step, (train, at, validation) = int(state.step), state.history
    is_counted = len(train) == step and len(at) == len(validation) >= 1
    is_ascending = is_counted and at[0] == 0 and at[-1] <= step and (np.diff(at) > 0).all()
    rules = jax.tree.leaves((state.rule, state.best_rule))
    if not is_ascending or not all(np.isfinite(leaf).all() for leaf in rules):
        raise ValueError(
            f"{folder}: the checkpoint holds a state that no run leads to; delete it, or choose "
            "another checkpoint_dir"
        )


def _is_out_of_patience(history: History, patience: int | None) -> bool:
    since_best = history.validation.size - 1 - int(np.argmin(history.validation))
    return patience is not None and since_best >= patience


def _described(history: History) -> str:
    return (
        f"train {history.train[-1]:.5g}  validation {history.validation[-1]:.5g}  "
        f"best {history.best[-1]:.5g} "
    )


class _Minibatches:
    """Which instances and which key belong to a step: a function of its number alone."""

    def __init__(
        self, train: Instance, size: int | None, order_key: jax.Array, step_key: jax.Array
    ):
        self._train = train
        self._total = train.prompt_tokens.shape[0]
        self._size = size
        self._order_key, self._step_key = order_key, step_key

    def at(self, step: int) -> tuple[Instance, jax.Array]:
        key = jax.random.fold_in(self._step_key, step)
        if self._size is None:
            return self._train, key
        epoch, place = divmod(step, self._total // self._size)
        order = jax.random.permutation(jax.random.fold_in(self._order_key, epoch), self._total)
        rows = order[place * self._size : (place + 1) * self._size]
        return jax.tree.map(lambda leaf: leaf[rows], self._train), key


def _require_usable(
    train: Instance,
    steps: int,
    minibatch_size: int | None,
    validate_every: int,
    patience: int | None,
) -> None:
    if len(shape := train.prompt_tokens.shape) != 2:
        raise wrong_shape("train", shape, "expected [B, n]; js.stack([inst]) makes one")
    integer("steps", steps, 1, MAX_INT32)
    integer("validate_every", validate_every, 1, MAX_INT32)
    if patience is not None:
        integer("patience", patience, 1, MAX_INT32)
    if minibatch_size is not None and integer("minibatch_size", minibatch_size) > shape[0]:
        raise InputError(
            "minibatch_size",
            minibatch_size,
            "take at most those",
            finding=f"is {minibatch_size} but train holds {shape[0]} instances",
        )
