"""Settings of a server that tuning chooses, beside the parameters of the rule.

They are integers or shares with few values worth a try, and the objective jumps in them, so they
have no gradient. All combinations run a race on the same streams: each lap halves the field and
doubles the streams, the last is over all of them. The numbers are leaves of the server, so that a
lap is one call. Races take turns with the descent, since a good order wants other settings.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxsched._lib.errors import InputError, UnknownName
from jaxsched.model.server import Server, require_numbers
from jaxsched.tuning.objectives import Objective
from jaxsched.tuning.traffic import Traffic, some_of

#: Settings that change no more than what a step does: numbers of the server.
TUNABLE = (
    "max_num_batched_tokens",
    "max_num_seqs",
    "watermark",
    "long_prefill_token_threshold",
    "prefill_schedule_interval",
    "enable_chunked_prefill",
    "long_prefill_token_threshold_adaptive",
)
_MOST = 4096  # combinations

Settings = Mapping[str, Sequence[Any]]


class Field:
    """The combinations of settings that run; number 0 is the server as it was given.

    Attributes:
      names: of the settings.
      values: a combination each, in the order of the names.
    """

    def __init__(self, server: Server, settings: Settings):
        """Cross the settings, or raise for one that cannot be tuned."""
        self._server = server
        self.names = tuple(settings)
        for name, values in settings.items():
            _require_values(name, values)
        own = tuple(getattr(server, name) for name in self.names)
        crossed = itertools.product(*settings.values())
        self.values = [own, *(each for each in crossed if each != own)]
        if len(self.values) > _MOST:
            raise InputError(
                "settings",
                settings,
                f"expected at most {_MOST}; give fewer values",
                finding=f"make {len(self.values)} combinations",
            )
        require_numbers(self._with(self.values))

    def server(self, number: int) -> Server:
        """Return the server with a combination."""
        return dataclasses.replace(self._server, **self.as_dict(number))

    def as_dict(self, number: int) -> dict[str, Any]:
        """Return a combination by the names of the settings."""
        return dict(zip(self.names, self.values[number], strict=True))

    def race(self, instances: Traffic, rule: Any, objective: Objective, champion: int) -> int:
        """Return the combination that is best for a rule on streams.

        Of equals the first wins. The champion runs in every lap, so that no worse one wins.

        Args:
          instances: the streams.
          rule: orders the queue.
          objective: what to make small.
          champion: the combination of before.

        Returns:
          The number of the winner.
        """
        runners = list(range(len(self.values)))
        num_streams = len(instances.reqs)
        laps = min(len(runners).bit_length(), num_streams.bit_length()) - 1
        for lap in range(laps + 1):
            some = some_of(instances, np.arange(num_streams >> (laps - lap)))
            values = self._values(some, rule, objective, runners)
            places = np.argsort(values, kind="stable")
            if lap == laps:
                return runners[places[0]]
            kept = {runners[place] for place in places[: -(-len(runners) // 2)]}
            runners = [runner for runner in runners if runner in kept | {champion}]
        raise AssertionError("a race has a last lap")

    def _values(
        self, instances: Traffic, rule: Any, objective: Objective, runners: Sequence[int]
    ) -> np.ndarray:
        """Mean of the objective over streams for each runner; infinite where it is NaN."""
        server = self._with([self.values[runner] for runner in runners])
        out = instances.outcome(rule, server)
        shape = out.is_real.shape
        xp = np if isinstance(out.completion, np.ndarray) else jax.numpy
        with jax.enable_x64(True):
            reqs = jax.tree.map(lambda leaf: xp.broadcast_to(leaf, shape), instances.reqs)
        values = np.asarray(objective(reqs, out), np.float64).mean(axis=-1)  # pyright: ignore[reportArgumentType]
        return np.where(np.isnan(values), np.inf, values)

    def _with(self, combinations: Sequence[tuple[Any, ...]]) -> Server:
        """Put several combinations on a server, ``[G, 1]``."""
        columns = zip(*combinations, strict=True)
        given = {
            name: np.array(column)[:, None]
            for name, column in zip(self.names, columns, strict=True)
        }
        return dataclasses.replace(self._server, **given)


def _require_values(name: str, values: Any) -> None:
    if name not in TUNABLE:
        raise UnknownName("setting to tune", name, TUNABLE)
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise InputError("settings", values, f"expected a list of values of {name}")
    if len(set(values)) < len(values):
        raise InputError("settings", values, f"expected values of {name} that differ")
