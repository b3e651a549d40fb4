"""Interrupts: quiet, at once, and never lost."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

INTERRUPTED = 130


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """Let an interrupt in the body end the process.

    For loading modules: an extension module does not load in halves, and what it reports of an
    interrupt may be anything.
    """
    is_pythons = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_pythons or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def interrupts_not_lost() -> Iterator[None]:
    """Interrupt again if Python drops an interrupt, as in a callback of its garbage collector."""

    def hook(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            threading.Timer(0.05, _thread.interrupt_main).start()  # once out of the callback
        else:
            before(unraisable)

    before, sys.unraisablehook = sys.unraisablehook, hook
    try:
        yield
    finally:
        sys.unraisablehook = before
