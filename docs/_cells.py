"""Tables in markdown, and how the numbers of results are written in their cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Row = dict[str, str]
Cell = Callable[[Row], str]


def table(
    headers: Iterable[str], rows: Iterable[Iterable[str]], texts: int = 1
) -> list[str]:
    """Markdown, with the first ``texts`` columns to the left and numbers to the right."""
    headers = list(headers)
    marks = ["---"] * texts + ["---:"] * (len(headers) - texts)
    return ["| " + " | ".join(cells) + " |" for cells in (headers, marks, *rows)]


def pivot(
    rows: list[Row],
    index: list[str],
    column: str,
    cell: Cell,
    names: dict[str, str] | None = None,
) -> list[str]:
    """One line for each value of ``index``, one column for each value of ``column``."""
    columns = list(dict.fromkeys(row[column] for row in rows))
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        lines.setdefault(tuple(code(row[name]) for name in index), {})[row[column]] = (
            cell(row)
        )
    headers = [(names or {}).get(name, name) for name in index]
    headers += [
        code(each) if each.isdigit() else each.replace("_", " ") for each in columns
    ]
    body = [
        [*key, *(cells.get(each, "") for each in columns)]
        for key, cells in lines.items()
    ]
    return table(headers, body, len(index))


def code(text: str) -> str:
    """Names of rules and traces as code, whole numbers with commas, phrases unchanged."""
    if text.isdigit():
        return f"{int(text):,}"
    is_name = "_" in text and " " not in text
    return f"`{text}`" if is_name or text in ("fcfs", "improve", "uniboost") else text


def number(column: str, digits: int = 0, factor: float = 1.0) -> Cell:
    """Cell with a plain number, blank where there is none."""
    return lambda row: (
        f"{factor * float(row[column]):,.{digits}f}" if row[column] else ""
    )


def stored(column: str) -> Cell:
    """Cell with a number to all the digits that its file has."""

    def cell(row: Row) -> str:
        whole, point, rest = row[column].partition(".")
        return f"{int(whole):,}{point}{rest}"

    return cell


def percent(
    column: str, digits: int = 1, sign: str = "", factor: float = 100.0
) -> Cell:
    """Cell with a share, or with per cent for a factor of 1."""
    return lambda row: (
        f"{factor * float(row[column]):{sign}.{digits}f}%" if row[column] else ""
    )


def interval(column: str, digits: int = 2, unit: str = "%") -> Cell:
    """Cell with a change, in per cent, and the limits of its 95% interval."""
    return lambda row: "{:+.{d}f}{unit} [{:+.{d}f}, {:+.{d}f}]".format(
        *(float(row[column + end]) for end in ("", "_low", "_high")),
        d=digits,
        unit=unit,
    )
