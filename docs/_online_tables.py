"""Tables of requests that arrive over time."""

from __future__ import annotations

from collections.abc import Callable

from _cells import Row, code, interval, number, percent, pivot, table

Read = Callable[..., list[Row]]

_SERVERS = {"llama3.1_8b_h100": "8B", "llama3.1_70b_4xh100": "70B"}


def loads_at_goal(read: Read) -> list[str]:
    """Load at which 90% of requests just meet their targets, by rule and case."""
    served = read("online_rules.csv")

    def case(row: Row) -> str:
        return f"{row['workload']} {_SERVERS[row['server']]}"

    def load(row: Row) -> str:
        if row["load"]:
            return number("load", 3)(row)
        own = [
            each
            for each in served
            if (case(each), each["rule"]) == (row["case"], row["rule"])
        ]
        first, last = own[0], own[-1]
        is_above = float(last["attainment"]) >= 0.9
        return f"> {last['load']}" if is_above else f"< {first['load']}"

    rows = [row | {"case": case(row)} for row in read("online_rules.rates.csv")]
    return pivot(rows, ["rule"], "case", load)


def over_hindsight(read: Read) -> list[str]:
    """Total latency over the price bound at a load of 1, by rule and workload."""
    rows = read("online_hindsight.csv", load="1")
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
            for row in read("online_published.csv")
        ),
        3,
    )


def uniboost(read: Read) -> list[str]:
    """Show what UniBoost changes against the shortest remaining output, by case."""
    headers = ("mean TTFT", "p95 TTFT", "mean E2E", "p99 E2E")
    metrics = ("mean_ttft_s", "p95_ttft_s", "mean_e2e_s", "p99_e2e_s")
    cells = [percent(f"{metric}_change", sign="+") for metric in metrics]
    return table(
        ["workload", "server", *headers],
        (
            [
                code(row["workload"]),
                _SERVERS[row["server"]],
                *(cell(row) for cell in cells),
            ]
            for row in read("online_published.uniboost.csv", load="1")
        ),
        2,
    )


def tuned(read: Read) -> list[str]:
    """Show what order and settings add to the rate, alone and together, by workload."""
    others = {
        "above_defaults": "above the defaults",
        "above_h100": "above those on an H100",
        "above_fixed": "above the best fixed rule",
    }
    cells = [
        number("rate", 2),
        number("limit", 2),
        *(interval(column, 0) for column in others),
    ]
    return table(
        ["workload", "order and settings", "requests/s", "limit", *others.values()],
        (
            [code(row["workload"]), row["pair"], *(cell(row) for cell in cells)]
            for row in read("online_tuning.csv")
        ),
        2,
    )


def chosen(read: Read) -> list[str]:
    """Show the settings and the weights that tuning chose, by workload."""
    numbers = {
        "max_num_batched_tokens": "token budget",
        "max_num_seqs": "requests",
        "long_prefill_token_threshold": "threshold",
        "w_log_prompt": "log prompt",
        "w_log_output": "log output",
        "w_prompt_share": "prompt share",
        "w_arrival_s": "arrival",
    }
    return table(
        ["workload", *numbers.values()],
        (
            [
                code(row["workload"]),
                *(number(name, 2 if name[:2] == "w_" else 0)(row) for name in numbers),
            ]
            for row in read("online_tuning.csv", pair="order and settings tuned")
        ),
    )


def estimators(read: Read) -> list[str]:
    """Cosine and cost of each gradient, and what it reaches at equal simulations."""
    return table(
        ["workload", "estimator", "cosine", "CPU seconds", "points gained"],
        (
            [
                code(row["workload"]),
                row["estimator"].replace("_", " "),
                interval("cosine", 2, "")(row).replace("+", ""),
                number("cpu_s", 1)(row),
                interval("test_points", 1, "")(row),
            ]
            for row in read("online_tuning.estimators.csv")
        ),
        2,
    )


def prediction_error(read: Read) -> list[str]:
    """Show what rules save of the mean latency of fcfs at a load of 1, by the size of errors."""
    rows = read("prediction_error.csv", load="1", kind="lognormal")
    index = ["workload", "memory", "rule"]
    return pivot(rows, index, "sigma", percent("gain_mean_e2e_s"))
