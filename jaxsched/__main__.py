"""``python -m jaxsched`` is ``jaxsched``."""

import sys

from jaxsched_command import main

if __name__ == "__main__":
    sys.exit(main())
