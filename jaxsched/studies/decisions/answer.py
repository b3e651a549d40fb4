"""The answer in a few sentences and one table."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from jaxsched._lib.layout import Column, Layout
from jaxsched.metrics.statistics import Estimate
from jaxsched.show.tables import written

if TYPE_CHECKING:
    from jaxsched.studies.decisions.decision import Choice, Decision

_HEADER_WIDTH = 9
#: What each choice is called.
NAMES = {
    "now": "now",
    "settings": "best settings",
    "order": "best order",
    "both": "best of both",
}


def number(value: float) -> str:
    """Write a rate with three digits; whole numbers of thousands whole.

    Example:
      >>> from jaxsched.studies.decisions.answer import number
      >>> number(19.953), number(0.5004), number(1234.5), number(float("nan"))
      ('20.0', '0.500', '1,234', '-')
    """
    if not math.isfinite(value):
        return "-"
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def span(estimate: Estimate) -> str:
    """Write the limits of an interval, ``-`` for none."""
    if not estimate.low < estimate.high:
        return "-"
    return f"{number(estimate.low)} to {number(estimate.high)}"


def setting_text(setting: dict) -> str:
    """Write settings in a phrase."""
    return ", ".join(f"{name}={value}" for name, value in setting.items())


def header(name: str) -> str:
    r"""Break the name of a setting, so that its column is narrow.

    Example:
      >>> from jaxsched.studies.decisions.answer import header
      >>> header("max_num_seqs")
      'max_num_\nseqs'
    """
    lines = textwrap.wrap(name.replace("_", "_ "), _HEADER_WIDTH)
    return "\n".join(lines).replace(" ", "")


def verdict(decision: Decision) -> list[str]:
    """Say what the server takes now, what the log brings, and what would give more."""
    now, best = decision.choices["now"], decision.choices[decision.best]
    share = f"{100 * decision.search.goal.attainment:.6g}%"
    if not now.rate:
        said = [f"As it is set now, the server misses the targets at every rate tried ({share})."]
    else:
        interval = f" ({span(now.interval)})" if now.interval.low < now.interval.high else ""
        said = [
            f"As it is set now, the server takes {number(now.rate)} requests a second{interval}"
            f"{_at_limit(now)} with {share} of them within the targets."
        ]
        said.append(_at_peak(decision))
    if decision.best == "now":
        said.append("No setting and no order that were tried is better beyond chance.")
        return said
    what = {"settings": "Other settings", "order": "Another order", "both": "Both together"}
    change = written(best.change["now"], is_share=True)
    said.append(
        f"{what[decision.best]} would take {number(best.rate)}{_at_limit(best) or ','} a change of "
        f"{change}: {_what(best, now)}."
    )
    said += _beyond(decision)
    return said


def _at_limit(choice: Choice) -> str:
    return ", the limit of any order," if choice.is_limited else ""


def _beyond(decision: Decision) -> list[str]:
    """Say what the choice of most gain would add to the one that is recommended."""
    most = max(decision.choices, key=lambda name: decision.choices[name].rate)
    if most == decision.best or decision.choices[most].rate == decision.choices[decision.best].rate:
        return []
    choice, best = decision.choices[most], decision.choices[decision.best]
    more = written(choice.change[decision.best], is_share=True)
    return [f"With {_what(choice, best)} it would be {more} more, which may be chance."]


def _at_peak(decision: Decision) -> str:
    traffic = decision.traffic
    log = (
        f"The log brings {number(traffic.rate)} on average and {number(traffic.peak_rate)} in its "
        f"busiest {number_of_seconds(traffic.bin_s)}"
    )
    servers = decision.servers_at_peak
    if servers == 1:
        return f"{log}, so one such server is enough."
    return f"{log}, so {servers:.0f} such servers are needed."


def number_of_seconds(seconds: float) -> str:
    """Write a time in the unit it is a whole number of.

    Example:
      >>> from jaxsched.studies.decisions.answer import number_of_seconds
      >>> number_of_seconds(30), number_of_seconds(60), number_of_seconds(7200)
      ('30 seconds', 'minute', '2 hours')
    """
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return unit if count == 1 else f"{count} {unit}s"
    return f"{seconds:.3g} seconds"


def _what(choice: Choice, now: Choice) -> str:
    parts = []
    changed = {name: value for name, value in choice.setting.items() if now.setting[name] != value}
    if changed:
        parts.append(setting_text(changed))
    if choice.rule != now.rule:
        parts.append(f"the order {choice.rule}")
    return " and ".join(parts)


def choices_layout(decision: Decision) -> Layout:
    """Lay out the four choices, measured on runs that had no part in the choice."""
    choices = decision.choices
    now = choices["now"]
    columns = [
        Column("", [NAMES[name] for name in choices]),
        Column(
            "req/s",
            [
                f"{number(choice.rate)}{'*' if choice.is_limited else ''}"
                for choice in choices.values()
            ],
        ),
        Column("95% interval", [span(choice.interval) for choice in choices.values()]),
        Column(
            "change",
            [
                "-" if name == "now" else written(choice.change["now"], is_share=True)
                for name, choice in choices.items()
            ],
        ),
        Column("order", [choice.rule for choice in choices.values()]),
        *(
            Column(header(name), [f"{choice.setting[name]}" for choice in choices.values()])
            for name in now.setting
        ),
    ]
    caption = "on runs of the log that had no part in the choice; changes are paired by run"
    if any(choice.is_limited for choice in choices.values()):
        caption += "\n* the limit, at which the goal is still met; no order keeps up with more"
    return Layout("", columns, caption, best_row=list(choices).index(decision.best))
