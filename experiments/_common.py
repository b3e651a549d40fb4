"""What every experiment needs: real data where present, a manifest, and a place for results."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from jaxsched._lib.manifest import manifest as describe_run

_HERE = Path(__file__).resolve().parent


def data_dir() -> Path | None:
    """Folder of the real request lengths (JAXSCHED_DATA, else ../shared/data), or None."""
    folder = Path(os.environ.get("JAXSCHED_DATA", _HERE.parent.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def parser(description: str | None) -> argparse.ArgumentParser:
    """Start the command line of an experiment, with the flag that all of them have."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--smoke", action="store_true", help="tiny sizes, results not kept")
    return arguments


def manifest(seed: int) -> dict[str, Any]:
    """Say what ran, on what, with which versions and seed."""
    command = ["python", f"experiments/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    return describe_run(" ".join(command), seed)


def write_results(name: str, payload: dict[str, Any]) -> Path:
    """Write ``results/<name>.json``; a smoke run writes to a temporary folder instead."""
    is_smoke = "--smoke" in sys.argv
    folder = Path(tempfile.mkdtemp(prefix="jaxsched-")) if is_smoke else _HERE / "results"
    path = folder / f"{name}.json"
    path.write_text(json.dumps(payload, indent=2) + "\n")
    print(f"wrote {path if is_smoke else path.relative_to(_HERE.parent)}")
    return path
