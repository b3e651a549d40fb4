"""What a fit found: the clock, how good it is, and where it holds."""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxsched.model.clock import COEFFICIENTS, FittedBox, LinearClock
from jaxsched.servers.calibration.least_squares import Error, Fit
from jaxsched.servers.files import save

FEWEST_SHAPES = 6
_COLUMNS = "{:<22}{:>10}{:>10}{:>12}{:>10}"


@dataclasses.dataclass(frozen=True)
class Alternative:
    """A form of clock that is compared with the linear one, and not served.

    Attributes:
      formula: of the time of a step, in ms.
      coefficients: by their letters in the formula.
      seen: error on the rows that it was fitted to.
      unseen: error on rows of shapes left out; None for one shape.
    """

    formula: str
    coefficients: Mapping[str, float]
    seen: Error
    unseen: Error | None


@dataclasses.dataclass(frozen=True, repr=False)
class Calibration:
    """A clock fitted to measured times, with its error and its limits.

    Attributes:
      clock: the :class:`~jaxsched.clock.LinearClock`, with the box it was fitted in.
      standard_errors: of its coefficients, by name, in their units; if rows err independently. NaN
        where the rows do not tell.
      seen: mean and largest relative error on the rows that it was fitted to.
      unseen: the same of rows whose shape was left out of the fit; None for one shape.
      alternatives: by name, ``"hinge"`` and ``"concave"``: other forms and their errors.
      num_shapes: shapes among the rows: pairs of prompt and output in a table; in a log, prompt
        tokens and decoding requests by powers of two.
      source: what was read, such as the name of a file.
      measured_ms: times ``[n]``.
      predicted_ms: times ``[n]`` by the clock.
      left_out_ms: times ``[n]`` by the clock fitted without the shape of the row; or None.
      kv_capacity: tokens the cache holds, where the source says so; or None.
      host_ms: time a request spends outside of steps, from times to first token; or None. A
        server has no such term.
      notes: sentences about what to mind.

    Example:
      >>> import jaxsched as js
      >>> shapes = [(s, o, b) for s in (100, 400, 1600) for o in (200, 800) for b in (1, 8, 32)]
      >>> s, o, b = zip(*shapes)
      >>> tpot = [6 + 0.02 * (b - 1) * s / o + 4e-5 * b * (s + o / 2) for s, o, b in shapes]
      >>> found = js.calibrate.fit_bench(
      ...     {"prompt_tokens": s, "output_tokens": o, "concurrency": b, "tpot_ms": tpot})
      >>> round(found.clock.iteration_ms, 2), found.num_shapes, found.seen.mean < 0.01
      (6.0, 6, True)
    """

    clock: LinearClock
    standard_errors: Mapping[str, float]
    seen: Error
    unseen: Error | None
    alternatives: Mapping[str, Alternative]
    num_shapes: int
    source: str
    measured_ms: np.ndarray
    predicted_ms: np.ndarray
    left_out_ms: np.ndarray | None
    kv_capacity: int | None = None
    host_ms: float | None = None
    notes: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str], kv_capacity: int | None = None) -> None:
        """Keep the clock in a JSON file that ``--server`` and :func:`jaxsched.servers.load` take.

        Args:
          path: a file that ends in ``.json``.
          kv_capacity: tokens the cache holds; None for those of the source, if it says so.
        """
        about = {key: value for key, value in self.to_dict().items() if key not in ("clock", "box")}
        save(path, self.clock, kv_capacity or self.kv_capacity, about)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single rows, for JSON."""
        box = self.clock.box
        return {
            "source": self.source,
            "clock": {name: float(getattr(self.clock, name)) for name in COEFFICIENTS},
            "standard_errors": {
                name: None if math.isnan(error) else error
                for name, error in self.standard_errors.items()
            },
            "box": None if box is None else box._asdict(),
            "seen": self.seen._asdict(),
            "unseen": None if self.unseen is None else self.unseen._asdict(),
            "num_rows": self.measured_ms.size,
            "num_shapes": self.num_shapes,
            "kv_capacity": self.kv_capacity,
            "host_ms": self.host_ms,
            "alternatives": {
                name: {
                    "formula": each.formula,
                    "coefficients": dict(each.coefficients),
                    "seen": each.seen._asdict(),
                    "unseen": None if each.unseen is None else each.unseen._asdict(),
                }
                for name, each in self.alternatives.items()
            },
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        """Coefficients, errors and limits, as text."""
        box = self.clock.box
        lines = [f"clock fitted to {self.measured_ms.size} rows of {self.source}", ""]
        labels = "iteration", "prompt token", "decoding request", "held token", "squared token"
        lines.append("what it takes              ms  standard error")
        for label, name in zip(labels, COEFFICIENTS, strict=True):
            value = float(getattr(self.clock, name))
            share = self.standard_errors[name] / value if value else math.nan
            known = "-" if math.isnan(share) else f"{share:.1%}"
            lines.append(f"{label:<22}{value:>10.4g}{known:>16}")
        if self.host_ms is not None:
            lines.append(f"{'host, not served':<22}{self.host_ms:>10.4g}")
        lines += ["", _COLUMNS.format("relative error", "mean", "largest", "left out", "largest")]
        lines.append(_errors("linear, served", self.seen, self.unseen))
        lines += [_errors(name, each.seen, each.unseen) for name, each in self.alternatives.items()]
        lines.append(f"shapes left out in turn: {self.num_shapes}")
        lines += [f"{name}: {each.formula}" for name, each in self.alternatives.items()]
        if box is not None:
            lines.append(
                f"fitted up to {box.prefill_tokens:.0f} prompt tokens, "
                f"{box.decoding_requests:.0f} decoding requests and {box.kv_tokens:.0f} held "
                "tokens a step"
            )
        return "\n".join([*lines, *self.notes])


def _errors(name: str, seen: Error, unseen: Error | None) -> str:
    of_unseen = ("-", "-") if unseen is None else (f"{each:.1%}" for each in unseen)
    return _COLUMNS.format(name, *(f"{each:.1%}" for each in seen), *of_unseen)


def calibrated(
    fitted: Fit,
    coefficients: Any,
    box: FittedBox,
    *,
    ms: np.ndarray,
    num_shapes: int,
    notes: tuple[str, ...],
    **others: Any,
) -> Calibration:
    """Put a calibration together, and warn where it rests on few shapes."""
    if num_shapes < FEWEST_SHAPES:
        sentence = (
            f"the clock rests on {num_shapes} of the at least {FEWEST_SHAPES} shapes that it "
            "needs; times of others are a guess: measure prompt over output from 0.1 to 10, "
            "at five concurrencies each"
        )
        warnings.warn(sentence, stacklevel=3)
        notes = (*notes, sentence)
    clock = LinearClock(*map(float, coefficients), box=box)
    # Without squared tokens there is one column less.
    errors = dict.fromkeys(COEFFICIENTS, math.nan)
    errors.update(zip(COEFFICIENTS, map(float, fitted.standard_errors), strict=False))
    missing = [name for name in COEFFICIENTS[:1] if not float(getattr(clock, name)) > 0]
    notes += tuple(f"{name} is 0: a step without work would take no time" for name in missing)
    return Calibration(
        clock=clock,
        standard_errors=errors,
        seen=fitted.seen,
        unseen=fitted.unseen,
        num_shapes=num_shapes,
        measured_ms=ms,
        predicted_ms=fitted.predicted,
        left_out_ms=fitted.left_out,
        notes=notes,
        **others,
    )
