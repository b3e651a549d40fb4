"""Files that are written whole or not at all, and what is said about them."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxsched.cli._given import files_to_read

if TYPE_CHECKING:
    from rich.console import Console


def console_beside(*targets: str | Path | None) -> Console:
    """Where to print for people: stderr if stdout is to carry one of the files."""
    from rich.console import Console

    from jaxsched._lib.streams import is_stdout

    carries = any(each == "-" or is_stdout(Path(each)) for each in targets if each is not None)
    return Console(stderr=carries, highlight=False, markup=False)


def require_targets(**paths: str | Path | None) -> None:
    """Raise before hours of work if a file could not be written after them, or would be lost.

    Args:
      paths: files by the names of their options, or in capitals of their arguments.
    """
    from jaxsched._lib.streams import is_stream
    from jaxsched._lib.writing import require_writable

    targets: dict[str, Path] = {}
    for option, target in paths.items():
        if target is None or (option == "json" and target == "-"):
            continue
        path = Path(target)
        name = option if option.isupper() else f"--{option}"
        if path.is_dir():
            raise ValueError(f"{name} {path}: is a folder; expected a file")
        # Where a symbolic link leads.
        folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent
        if not is_stream(path):
            if not folder.is_dir():
                raise ValueError(f"{name} {path}: there is no folder {folder}; make it first")
            targets[name] = path
        if option == "plot":
            _require_picture_format(path)
    _require_apart(targets)
    for name, path in targets.items():
        try:
            require_writable(path)
        except OSError as error:
            raise ValueError(f"{name} {path}: cannot be written: {error.strerror}") from error


def _require_apart(targets: Mapping[str, Path]) -> None:
    """Raise if two outputs are one file, or an output is a file that the command reads."""
    taken: dict[str, str] = {}
    for flag, path in files_to_read(targets):
        taken[os.path.realpath(path)] = f"the command reads it, as {flag}"
    for name, path in targets.items():
        place = os.path.realpath(path)
        if place in taken:
            raise ValueError(f"{name} {path}: {taken[place]}; give another file")
        taken[place] = f"{name} is the same file"


def _require_picture_format(path: Path) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError('--plot needs matplotlib: pip install "jaxsched[plot]"') from error
    matplotlib.use("agg")  # files only, also where there is a screen
    from matplotlib.backend_bases import FigureCanvasBase

    from jaxsched._lib.streams import is_stream

    known = FigureCanvasBase.get_supported_filetypes()
    if is_stream(path) and not path.suffix:
        return  # PNG, see save_plot
    if path.suffix.lower().lstrip(".") not in known:
        raise ValueError(f"--plot {path}: expected a file name that ends in .{', .'.join(known)}")


def save(path: Path, write: Callable[[Path], object], what: str, console: Console) -> None:
    """Have ``write`` make the file, whole or not at all, and say so."""
    from jaxsched._lib.writing import write_whole

    write_whole(path, write)
    console.print(f"{what} saved to {path}", soft_wrap=True)


def save_json(
    target: str, command: str, seed: int, content: Mapping[str, Any], console: Console
) -> None:
    """Write JSON, with what ran and on what, to a file, or to stdout for ``-``."""
    from jaxsched._lib.manifest import manifest

    payload = {"manifest": manifest(command, seed), **content}
    text = json.dumps(payload, indent=2, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        save(Path(target), lambda path: path.write_text(text), "results", console)


def save_csv(path: Path, records: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Write records of the same keys as a table; NaN leaves a cell blank."""

    def write(partial: Path) -> None:
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(records[0]))
            writer.writeheader()
            for record in records:
                blank = {name: "" for name, value in record.items() if value != value}
                writer.writerow({**record, **blank})

    save(path, write, "table", console)


def save_plot(path: Path, draw: Callable[[], Any], console: Console) -> None:
    """Write the picture that ``draw`` makes on matplotlib axes of its own; PNG to a device."""
    from matplotlib import pyplot

    figure = draw().figure
    form = path.suffix.lower().lstrip(".") or "png"
    save(path, lambda partial: figure.savefig(partial, dpi=150, format=form), "picture", console)
    pyplot.close(figure)
