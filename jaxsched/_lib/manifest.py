"""What ran, on what, with which versions."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax


def manifest(command: str, seed: int) -> dict[str, Any]:
    """Describe a run, for results that are kept.

    Args:
      command: what was typed.
      seed: of all its randomness.

    Returns:
      Plain values for JSON: ``command``, ``seed``, ``versions``, ``device``, ``cpu`` and ``date``.
    """
    device = jax.devices()[0]
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
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
