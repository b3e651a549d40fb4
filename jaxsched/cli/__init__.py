"""The command line: options in, text and files out. It uses the package as its users do.

Nothing here loads jax. Help and completion answer at once; a command loads the library as it runs.
"""

from __future__ import annotations

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
