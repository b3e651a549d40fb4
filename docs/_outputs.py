"""Put under each example of a page what it prints: ``python docs/_outputs.py docs/guide/*.md``.

A page is a script. Its ``python`` blocks run in order and share their names; what one prints goes
into the ``text`` block below it. Lines of a ``console`` block that begin with ``$ jaxsched`` run as
typed, 80 columns wide. The tests run every page and compare.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

_PYTHON = re.compile(
    r"^```python\n(.*?)^```\n(?:\n```text\n.*?^```\n)?", re.DOTALL | re.MULTILINE
)
_CONSOLE = re.compile(
    r"^```console\n\$ jaxsched (.*?)\n.*?^```\n", re.DOTALL | re.MULTILINE
)


def refreshed(text: str, name: str) -> str:
    """Return the text of a page with the outputs that its examples have now."""
    names: dict[str, object] = {"__name__": name}

    def run_python(example: re.Match[str]) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(example[1], name, "exec"), names)
        output = _tidy(printed.getvalue())
        return f"```python\n{example[1]}```\n" + (
            f"\n```text\n{output}```\n" if output else ""
        )

    def run_command(example: re.Match[str]) -> str:
        command = [sys.executable, "-m", "jaxsched", *shlex.split(example[1])]
        shape = {"COLUMNS": "80", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
        run = subprocess.run(
            command, env=os.environ | shape, capture_output=True, text=True, check=True
        )
        return f"```console\n$ jaxsched {example[1]}\n{_tidy(run.stdout)}```\n"

    return _CONSOLE.sub(run_command, _PYTHON.sub(run_python, text))


def _tidy(printed: str) -> str:
    lines = [line.rstrip() for line in printed.strip("\n").split("\n")]
    return "\n".join(lines) + "\n" if any(lines) else ""


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(refreshed(page.read_text(), page.name))
