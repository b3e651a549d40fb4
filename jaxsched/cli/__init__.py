"""The command line: options in, text and files out. It uses the package as its users do.

Nothing here loads jax. Help and completion answer at once; a command loads the library as it runs.
"""

from __future__ import annotations

import io
import locale
import os
import sys
from collections.abc import Sequence

from jaxsched.cli._interrupts import INTERRUPTED, ended_at_once


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
      arguments: what follows the command's name; by default those of this process.

    Returns:
      The exit code: 0, 2 after bad input (one line on stderr says what), 130 when interrupted.
    """
    with ended_at_once():
        from jaxsched.cli._app import run
    return run(list(sys.argv[1:] if arguments is None else arguments) or ["--help"])


def script() -> int:
    """Be the process ``jaxsched``; after an interrupt leave at once.

    By then files are whole or gone. Waiting for what the compiler's threads still do would only
    keep the user waiting, and ending the interpreter below them can crash it.
    """
    _write_what_can_be_shown()
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # as in: jaxsched policies | head -3
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    if code == INTERRUPTED:
        os._exit(code)
    return code


def _write_what_can_be_shown() -> None:
    """Write ASCII under the locale C, which Python takes for UTF-8; fail on no character."""
    is_c = locale.setlocale(locale.LC_CTYPE) in ("C", "POSIX")
    is_told = "PYTHONIOENCODING" in os.environ or "PYTHONUTF8" in os.environ
    encoding = "ascii" if is_c and not is_told else None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
