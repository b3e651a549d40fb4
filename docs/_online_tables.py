"""Tables of requests that arrive over time."""

from __future__ import annotations

from collections.abc import Callable

from _cells import Row, number, percent, pivot, table

Read = Callable[..., list[Row]]

_SERVERS = {"llama3.1_8b_h100": "8B", "llama3.1_70b_4xh100": "70B"}


def loads_at_goal(read: Read) -> list[str]:
    """Load at which 90% of requests just meet their targets, by rule and case."""
    rows = [
        row | {"case": f"{row['workload']} {_SERVERS[row['server']]}"}
        for row in read("online_rules.rates.csv")
    ]
    return pivot(rows, ["rule"], "case", number("load", 3))


def over_hindsight(read: Read) -> list[str]:
    """Total latency over the price bound at a load of 1, by rule and workload."""
    rows = read("online_rules.hindsight.csv", load="1")
    return pivot(rows, ["rule"], "workload", number("over_bound", 3))


def published(read: Read) -> list[str]:
    """MC-SF and smallest volume beside three judges of what hindsight reaches."""
    return table(
        ["streams", "rule", "judge", "ratio", "from", "to"],
        (
            [
                row["case"],
                f"`{row['rule']}`",
                row["judge"],
                *(number(f"ratio{end}", 3)(row) for end in ("", "_low", "_high")),
            ]
            for row in read("online_rules.published.csv")
        ),
        3,
    )


def prediction_error(read: Read) -> list[str]:
    """Show what rules save of the mean latency of fcfs at a load of 1, by the size of errors."""
    rows = read("prediction_error.csv", load="1", kind="lognormal")
    index = ["workload", "memory", "rule"]
    return pivot(rows, index, "sigma", percent("gain_mean_e2e_s"))
