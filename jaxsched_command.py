"""The command ``jaxsched``: the package's command line, also quiet when stopped while it loads.

It lies outside the package because importing anything from there imports jax first, which takes
long enough to be interrupted.
"""

import os
import signal
import sys

_INTERRUPTED = 130


def main() -> int:
    """Run :func:`jaxsched.cli.main`; after an interrupt leave at once.

    By then files are whole or gone. Waiting for what the compiler's threads still do would only
    keep the user waiting, and ending the interpreter below them can crash it.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # extension modules do not load in halves
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from jaxsched.cli import main as run

    try:
        signal.signal(signal.SIGINT, handler)
        code = run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        os._exit(code)
    return code
