"""The record of a run, step by step, and what follows from it by counting alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxsched._lib.errors import InputError, wrong_dtype, wrong_shape

_FLOAT_COLUMNS = ("step_clock", "step_end")


class ServiceLog(NamedTuple):
    """Columns of a recorded run, float64 seconds and int64; requests and steps count from 0.

    Attributes:
      step_clock: when each step begins.
      step_end: when it ends.
      step_arrived: requests that join the queue just before it.
      step_P: tokens of prompts computed, recomputation included.
      step_B: requests that decode.
      step_KV: tokens that these have cached before it.
      step_free_mid: free blocks once all grants are made.
      step_free_end: free blocks once the requests that finish gave theirs back.
      step_running: requests that run, before they finish.
      step_waiting: requests that wait.
      step_entries: requests that are granted tokens, which split the columns ``ent``.
      ent_req: request that is granted tokens.
      ent_tok: how many.
      ent_sampled: 1 if the step yields a token of it.
      pre_step: step of an eviction.
      pre_req: request that is evicted.
      adm_step: step of an admission.
      adm_req: request that is admitted.
      adm_resumed: 1 if it was evicted before.
      fin_step: step at whose end a request finishes.
      fin_req: request that finishes.
    """

    step_clock: np.ndarray
    step_end: np.ndarray
    step_arrived: np.ndarray
    step_P: np.ndarray
    step_B: np.ndarray
    step_KV: np.ndarray
    step_free_mid: np.ndarray
    step_free_end: np.ndarray
    step_running: np.ndarray
    step_waiting: np.ndarray
    step_entries: np.ndarray
    ent_req: np.ndarray
    ent_tok: np.ndarray
    ent_sampled: np.ndarray
    pre_step: np.ndarray
    pre_req: np.ndarray
    adm_step: np.ndarray
    adm_req: np.ndarray
    adm_resumed: np.ndarray
    fin_step: np.ndarray
    fin_req: np.ndarray

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> ServiceLog:
        """Read columns by name; others are passed over.

        Raises:
          ValueError: a column is missing, holds no numbers, or is not as long as its table.
        """
        arrays: dict[str, np.ndarray] = {}
        for name in cls._fields:
            if name not in columns:
                raise InputError(
                    f"log[{name!r}]",
                    None,
                    "expected the log of a recorded run",
                    finding="is missing",
                )
            array = np.asarray(columns[name])
            kinds = "iuf" if name in _FLOAT_COLUMNS else "iub"
            if array.size and array.dtype.kind not in kinds:
                raise wrong_dtype(f"log[{name!r}]", array.dtype, "expected integers or seconds")
            table = name.partition("_")[0]
            first = next(each for each in cls._fields if each.startswith(table))
            length = arrays[first].shape if first in arrays else (array.size,)
            if array.shape != length:
                raise wrong_shape(
                    f"log[{name!r}]", array.shape, beside=f"log[{first!r}] has {length}"
                )
            arrays[name] = array.astype(np.float64 if name in _FLOAT_COLUMNS else np.int64)
        return cls(**arrays)

    @property
    def num_steps(self) -> int:
        """Steps that were taken."""
        return self.step_end.size

    @property
    def ent_step(self) -> np.ndarray:
        """Step of each grant."""
        return np.repeat(np.arange(self.num_steps), self.step_entries)
