"""What a result that is a table has in common with others: every form it can be shown in."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult

from jaxsched._lib.layout import Layout, html
from jaxsched.show.markup import latex, markdown
from jaxsched.show.tables import FittedTable, plain_text


class Tabled:
    """Results that print as tables, and go into papers and web pages as such."""

    def _layouts(self) -> list[Layout]:
        """Tables to show, one below another."""
        raise NotImplementedError

    def _paper_layouts(self) -> list[Layout]:
        """Tables for a paper, which may say more."""
        return self._layouts()

    def to_latex(self, label: str | None = None) -> str:
        r"""Write the tables as a LaTeX float, for ``\usepackage{booktabs}``.

        Intervals are set with :math:`\pm`, names are escaped, and the caption says what was run.

        Args:
          label: what ``\ref`` takes, such as ``"tab:rules"``; None makes one of the first words of
            the caption.

        Raises:
          ValueError: LaTeX does not take the label.
        """
        return latex(self._paper_layouts(), label)

    def to_markdown(self) -> str:
        """Write the tables as Markdown with bars, names escaped."""
        return markdown(self._paper_layouts())

    def __str__(self) -> str:
        """Lay the tables out as plain text."""
        return "\n\n".join(map(plain_text, self._layouts()))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, layout in enumerate(self._layouts()):
            if number:
                yield ""
            yield FittedTable(layout)

    def _repr_html_(self) -> str:
        return "\n".join(map(html, self._layouts()))
