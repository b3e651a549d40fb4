"""Tables for papers and web pages: LaTeX with booktabs, and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from jaxsched._lib.errors import InputError
from jaxsched._lib.layout import Layout

#: Levels of significance and what marks them, the strictest first.
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))

_NUMBER = re.compile(r"(-?)([\d,]*\.?\d+)(?:±([\d.]+))?(%?)(\**)")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "…": r"\ldots{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~$#])")
_RANGE = re.compile(r"(?<=\d)\.\.(?=\d)")
_HYPHEN = re.compile(r"-\n")
_LABEL = re.compile(r"[A-Za-z0-9:.\-_/+]+")
_WORDS_OF_LABEL = 8
_BROKEN_WORD = re.compile(r"-\n|(?<=_)\n")


def stars(p_value: float) -> str:
    """Mark a p-value; nothing where it is 0.05 or more, or NaN."""
    return next((marks for level, marks in STARS if p_value < level), "")


def stars_caption(what: str) -> str:
    """Say what the marks of :func:`stars` mean, and of which test."""
    levels = ", ".join(f"{marks} p < {level}" for level, marks in reversed(STARS))
    return f"{levels}: {what}"


def latex(layouts: Sequence[Layout], label: str | None = None) -> str:
    r"""Write tables of one subject as a ``table`` float, which needs ``\usepackage{booktabs}``.

    Headers keep their lines, one below another, so that columns stay narrow; words are not broken.

    Args:
      layouts: the tables.
      label: what the text refers to it by; None makes one of the caption.

    Raises:
      InputError: LaTeX does not take the label.
    """
    if label is not None and not (isinstance(label, str) and _LABEL.fullmatch(label)):
        raise InputError("label", label, "expected letters, digits and :.-_/+, such as tab:rules")
    said = _sentences(*(text for each in layouts for text in (each.title, each.caption)))
    tabulars = "\n\n\\medskip\n".join(map(_tabular, layouts))
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{_in_latex(said)}}}\n\\label{{{label or _label(said)}}}\n"
        f"{tabulars}\n\\end{{table}}\n"
    )


def markdown(layouts: Sequence[Layout]) -> str:
    """Write tables of one subject with bars, as GitHub and most others read them."""
    tables = []
    for layout in layouts:
        headers = [_in_markdown(_one_line(column.header)) for column in layout.columns]
        rows = [headers, [":--", *["--:"] * (len(headers) - 1)]]
        for number, cells in enumerate(_rows(layout)):
            shown = [_in_markdown(_one_line(cell)) for cell in cells]
            is_best = layout.is_bold(number)
            rows.append([f"**{cell}**" if is_best and cell else cell for cell in shown])
        lines = ("| " + " | ".join(cells) + " |" for cells in rows)
        title, caption = (_in_markdown(_sentences(text)) for text in (layout.title, layout.caption))
        tables.append("\n\n".join(filter(None, (title, "\n".join(lines), caption))))
    return "\n\n".join(tables) + "\n"


def _label(caption: str) -> str:
    """Make a label of the first words of a caption."""
    words = re.findall(r"[a-z0-9]+", caption.lower())
    return "tab:" + "-".join(words[:_WORDS_OF_LABEL])


def _tabular(layout: Layout) -> str:
    headers = [_HYPHEN.sub("", column.header).split("\n") for column in layout.columns]
    height = max(map(len, headers))
    padded = [[""] * (height - len(lines)) + lines for lines in headers]
    lines = [f"\\begin{{tabular}}{{l{'r' * (len(headers) - 1)}}}", "\\toprule"]
    lines += [_latex_row(map(_in_latex, cells)) for cells in zip(*padded, strict=True)]
    lines.append("\\midrule")
    for number, cells in enumerate(_rows(layout)):
        if number == layout.limit_row:
            lines.append("\\midrule")
        weight = "\\bfseries\\boldmath " if layout.is_bold(number) else ""
        lines.append(_latex_row(weight + _latex_cell(cell) for cell in cells))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _rows(layout: Layout) -> Sequence[tuple[str, ...]]:
    return list(zip(*(column.cells for column in layout.columns), strict=True))


def _latex_row(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _latex_cell(text: str) -> str:
    """Set a number with its interval and marks as mathematics, and all else as text."""
    matched = _NUMBER.fullmatch(text)
    if matched is None:
        return "--" if text == "-" else _in_latex(_one_line(text))
    sign, digits, half_width, percent, marks = matched.groups()
    number = sign + digits.replace(",", "{,}") + (f" \\pm {half_width}" if half_width else "")
    return f"${number}{_in_latex(percent)}{f'^{{{marks}}}' if marks else ''}$"


def _sentences(*texts: str) -> str:
    """Lines of titles and captions as one text."""
    return " ".join(f"{line}." for text in texts for line in text.split("\n") if line)


def _one_line(text: str) -> str:
    """Put the lines of a header together again."""
    return " ".join(_BROKEN_WORD.sub("", text).split())


def _in_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _RANGE.sub("--", text))


def _in_markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)
