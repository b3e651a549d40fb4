"""What every experiment needs: real data where present, and a place and a form for results.

An experiment writes ``NAME.csv``, a row a case. Further tables are ``NAME.PART.csv``, the picture
``NAME.png``. ``NAME.manifest.json`` says what ran, on what, with which settings.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import jaxsched as js
from jaxsched._lib.manifest import manifest

_HERE = Path(__file__).resolve().parent
Row = dict[str, Any]


def data_dir() -> Path | None:
    """Folder of the real request lengths (JAXSCHED_DATA, else ../shared/data), or None."""
    folder = Path(os.environ.get("JAXSCHED_DATA", _HERE.parent.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def parser(description: str | None) -> argparse.ArgumentParser:
    """Start the command line of an experiment, with the flag that all of them have."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--smoke", action="store_true", help="tiny sizes, results not kept")
    return arguments


def interval(name: str, estimate: Sequence[float]) -> Row:
    """Three columns for a mean and the limits of its interval."""
    mean, low, high = map(float, estimate)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def comparison_rows(found: js.Comparison) -> list[Row]:
    """Every metric of every rule, and the bound on mean latency as one row more."""
    rows = found.records()
    if (bound := found.bound_on_mean_latency()) is not None:
        limit = {"rule": f"{found.bound_name} bound", "metric": "mean_latency_rounds"}
        rows.append(limit | bound._asdict())
    return rows


def write_results(
    name: str,
    rows: Sequence[Row],
    seed: int,
    parts: Mapping[str, Sequence[Row]] | None = None,
    **settings: Any,
) -> Path:
    """Write the tables and the manifest to ``results/``, a smoke run's to a temporary folder.

    Args:
      name: what the files are called.
      rows: of the main table, a dict a case.
      seed: of all the experiment's randomness.
      parts: further tables by name.
      **settings: sizes and choices of the run, for the manifest.

    Returns:
      Path of the main table. The picture goes beside it: ``path.with_suffix(".png")``.
    """
    is_smoke = "--smoke" in sys.argv
    folder = Path(tempfile.mkdtemp(prefix="jaxsched-")) if is_smoke else _HERE / "results"
    path = folder / f"{name}.csv"
    write_table(path, rows)
    for part, part_rows in (parts or {}).items():
        write_table(folder / f"{name}.{part}.csv", part_rows)
    command = ["python", f"experiments/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    write_manifest(folder / f"{name}.manifest.json", manifest(" ".join(command), seed) | settings)
    print(f"wrote {path if is_smoke else path.relative_to(_HERE.parent)}")
    return path


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write a CSV with five significant digits; what is absent stays blank."""
    pd.DataFrame(rows).convert_dtypes().to_csv(path, index=False, float_format="%.5g")


def write_manifest(path: Path, about: Mapping[str, Any]) -> None:
    """Write JSON with one line a key."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in about.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
