"""``python -m jaxsched`` is ``jaxsched``."""

import sys

from jaxsched.cli import script

if __name__ == "__main__":
    sys.exit(script())
