"""What a run of the tuner gives back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxsched.model.server import Server


class History(NamedTuple):
    """What happened in a run; objectives as they return it, smaller is better.

    Attributes:
      train: float64 ``[steps]``, the estimator's value of each step's minibatch, before the step.
      step: int64 ``[validations]``, steps made before each validation; the first is 0.
      validation: float64 ``[validations]``, mean objective of the hard rule on what is held out.
      setting: int64 ``[validations]``, which combination of the settings ran; 0 is the server as
        it was given. None where no settings are tuned.
    """

    train: np.ndarray
    step: np.ndarray
    validation: np.ndarray
    setting: np.ndarray | None = None

    @property
    def best(self) -> np.ndarray:
        """The lowest validation so far, ``[validations]``."""
        return np.minimum.accumulate(self.validation)

    @property
    def best_step(self) -> int:
        """Steps made before the best validation; of equals, the first."""
        return int(self.step[np.argmin(self.validation)])


class Tuned(NamedTuple):
    """The rule that was best on what is held out, and how it was found.

    Attributes:
      rule: a rule of the type that went in.
      history: the :class:`History`.
      server: for requests, the server with the settings that were best together with the rule.
      settings: these settings by name; None where none are tuned.
      test: mean objective on the test traffic, as the objective returns it; None without any.
    """

    rule: Any
    history: History
    server: Server | None = None
    settings: dict[str, Any] | None = None
    test: float | None = None
