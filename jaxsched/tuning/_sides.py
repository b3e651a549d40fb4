"""What a run learns from, chooses by and reports on: instances, or streams at a server."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsched._lib.arrays import is_resident
from jaxsched._lib.errors import MAX_INT32, InputError, integer, wrong_shape
from jaxsched.model.instance import Instance
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server
from jaxsched.tuning._apart import require_apart
from jaxsched.tuning._evaluate import evaluate, required
from jaxsched.tuning.objectives import Objective
from jaxsched.tuning.objectives.given import require_objective
from jaxsched.tuning.settings import Field, Settings
from jaxsched.tuning.traffic import Traffic, traffic


class Sides(NamedTuple):
    """What was given, checked.

    Attributes:
      train: instances ``[B, n]``, or streams at the server.
      validation: what is held out, as it was given.
      test: likewise, or None.
      server: of the streams, as it was given; None for instances.
      field: the combinations of settings, or None.
      objective: judges what is held out.
    """

    train: Instance | Traffic
    validation: Any
    test: Any
    server: Server | None
    field: Field | None
    objective: Objective

    def at(self, instances: Any, setting: Any) -> Any:
        """Put streams at the server with a combination of the settings."""
        return instances if self.field is None else instances.replace(server=self.with_(setting))

    def with_(self, setting: Any) -> Server | None:
        """Return the server with a combination of the settings."""
        return self.server if self.field is None else self.field.server(int(setting))

    def value(self, held_out: Any, rule: Any, setting: Any) -> float:
        """Mean objective of the hard rule on what is held out."""
        server = self.with_(setting)
        return float(evaluate(held_out, rule, self.objective, server=server).mean())

    def searched(self, rule: Any, setting: Any) -> np.int64:
        """Return the combination of the settings that suits a rule best."""
        assert self.field is not None  # who asks has settings
        assert isinstance(self.train, Traffic)
        return np.int64(self.field.race(self.train, rule, self.objective, int(setting)))


def checked_sides(
    train: Any,
    validation: Any,
    test: Any,
    server: Server | None,
    settings: Settings | None,
    objective: Objective,
) -> Sides:
    """Check what belongs together, or raise."""
    require_objective(objective)
    is_online = isinstance(train, Requests)
    for name, side in (("validation", validation), ("test", test)):
        if side is not None and isinstance(side, Requests) != is_online:
            raise InputError(
                name,
                side,
                f"expected {type(train).__name__}, as train is",
                finding=f"is {type(side).__name__}",
            )
    if not is_online:
        for name, value in (("server", server), ("settings", settings)):
            if value is not None:
                raise InputError(
                    name,
                    value,
                    "leave it out, or give Requests: inst.as_requests()",
                    finding="goes with requests that arrive over time, and train is a backlog",
                )
        if is_resident(train):
            train = jax.device_put(train)  # once, and not in every step
        return Sides(train, validation, test, None, None, objective)
    server = required(server)
    if len(shape := np.shape(train.is_real)) != 2:
        raise wrong_shape("train", shape, "expected [B, n]; js.stack([reqs]) makes one")
    require_apart({"train": train, "validation": validation, "test": test})
    field = None if settings is None else Field(server, settings)
    return Sides(traffic(train, server), validation, test, server, field, objective)


def require_usable(
    train: Any,
    steps: int,
    minibatch_size: int | None,
    validate_every: int,
    patience: int | None,
) -> None:
    """Raise for a number that is out of range."""
    if len(shape := train.prompt_tokens.shape) != 2:
        raise wrong_shape("train", shape, "expected [B, n]; js.stack([inst]) makes one")
    integer("steps", steps, 1, MAX_INT32)
    integer("validate_every", validate_every, 1, MAX_INT32)
    if patience is not None:
        integer("patience", patience, 1, MAX_INT32)
    if minibatch_size is not None and integer("minibatch_size", minibatch_size) > shape[0]:
        word = "streams" if isinstance(train, Requests) else "instances"
        raise InputError(
            "minibatch_size",
            minibatch_size,
            "take at most those",
            finding=f"is {minibatch_size} but train holds {shape[0]} {word}",
        )
