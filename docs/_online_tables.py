"""Tables of requests that arrive over time."""

from __future__ import annotations

from collections.abc import Callable

from _cells import Row, code, number, percent, pivot, table

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


def uniboost(read: Read) -> list[str]:
    """Show what UniBoost changes against the shortest remaining output, by case."""
    metrics = "mean_ttft_s", "p99_ttft_s", "mean_e2e_s", "p99_e2e_s"
    cells = [percent(f"{metric}_change", sign="+") for metric in metrics]
    return table(
        ["workload", "server", "mean TTFT", "p99 TTFT", "mean E2E", "p99 E2E"],
        (
            [
                code(row["workload"]),
                _SERVERS[row["server"]],
                *(cell(row) for cell in cells),
            ]
            for row in read("online_rules.uniboost.csv")
        ),
        2,
    )


def prediction_error(read: Read) -> list[str]:
    """Show what rules save of the mean latency of fcfs at a load of 1, by the size of errors."""
    rows = read("prediction_error.csv", load="1", kind="lognormal")
    index = ["workload", "memory", "rule"]
    return pivot(rows, index, "sigma", percent("gain_mean_e2e_s"))
