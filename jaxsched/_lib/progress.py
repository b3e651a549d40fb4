"""Progress bars and a line that say so while jax compiles."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
from tqdm import tqdm

# jax reports the end of a step: the programme is lowered, then XLA has compiled it.
_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
COMPILED = "/jax/core/compile/backend_compile_duration"

_STATES = {_LOWERED: "compiling", COMPILED: "running"}
_WIDTH = max(map(len, _STATES.values()))  # of a state, so that the bar keeps its length
_FORMAT = (
    "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit} [{elapsed}<{remaining}{postfix}]"
)

_LINE = "compiling ..."
_shown_bars: set[int] = set()


@contextlib.contextmanager
def progress_bar(total: int, unit: str, is_shown: bool | None = None) -> Iterator[Any]:
    """Show a bar on stderr while the body runs; afterwards it is gone.

    Args:
      total: units of work.
      unit: what they are called.
      is_shown: None shows the bar if stderr is a terminal.

    Yields:
      The ``tqdm`` bar, to ``update``.
    """
    disable = None if is_shown is None else not is_shown
    with tqdm(total=total, unit=unit, leave=False, disable=disable, bar_format=_FORMAT) as bar:
        if bar.disable:
            yield bar
            return

        def listen(event: str, duration_secs: float, **kwargs: Any) -> None:
            if event in _STATES:
                bar.set_postfix_str(f"{_STATES[event]:{_WIDTH}}")

        bar.set_postfix_str(f"{_STATES[COMPILED]:{_WIDTH}}")
        _shown_bars.add(id(bar))
        try:
            with _told(listen):
                yield bar
        finally:
            _shown_bars.remove(id(bar))


@contextlib.contextmanager
def compiling_line() -> Iterator[None]:
    """Show a line on stderr while jax compiles in the body, where no bar is shown that says so.

    Nothing is shown if stderr is no terminal.
    """
    if not sys.stderr.isatty():
        yield
        return

    def show(text: str) -> None:
        sys.stderr.write(f"\r{text}")
        sys.stderr.flush()

    def listen(event: str, duration_secs: float, **kwargs: Any) -> None:
        if event == _LOWERED and not _shown_bars:
            show(_LINE)
        elif event == COMPILED and not _shown_bars:
            show(" " * len(_LINE) + "\r")

    with _told(listen):
        try:
            yield
        finally:
            if sys.exc_info()[0] is not None:  # perhaps in the middle of compiling
                show(" " * len(_LINE) + "\r")


@contextlib.contextmanager
def _told(listen: Any) -> Iterator[None]:
    """Have jax tell ``listen`` how long each of its steps took."""
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
