"""What ran, on what, with which versions."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

_CHECKOUT = Path(__file__).resolve().parents[2]
_RESULTS = ":(exclude)experiments/results"  # a run that writes results does not change the code
_UNKNOWN = "unknown"


def manifest(command: str, seed: int) -> dict[str, Any]:
    """Describe a run, for results that are kept.

    Args:
      command: what was typed.
      seed: of all its randomness.

    Returns:
      Plain values for JSON: ``command``, ``seed``, ``versions``, ``device``, ``cpu``, ``date``,
      ``commit`` and ``dirty``. The last says whether the code differs from its commit. Both are
      "unknown" for a package that does not run from its checkout.
    """
    device = jax.devices()[0]
    commit, dirty = _source()
    return {
        "command": command,
        "seed": seed,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("jax", "jaxlib", "numpy", "jaxsched")},
        },
        "device": {"platform": device.platform, "kind": device.device_kind},
        "cpu": {"count": os.cpu_count(), "model": _processor()},
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "dirty": dirty,
    }


def _source() -> tuple[str, bool | str]:
    """Commit of the checkout, and whether anything but its results has changed since."""
    if not (_CHECKOUT / ".git").exists():
        return _UNKNOWN, _UNKNOWN
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", ".", _RESULTS)
    if commit is None or changes is None:
        return _UNKNOWN, _UNKNOWN
    return commit.strip(), bool(changes.strip())


def _git(*arguments: str) -> str | None:
    """Output of a git command in the checkout, or None where git is absent or fails."""
    try:
        run = subprocess.run(
            ["git", *arguments], cwd=_CHECKOUT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
