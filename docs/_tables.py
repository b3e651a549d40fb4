"""Tables of the benchmark page, written from experiments/results whenever the pages are built."""

from __future__ import annotations

import csv
import fnmatch
import json
from pathlib import Path

import _online_tables
from _cells import Row, code, interval, number, percent, pivot, stored, table

RESULTS = Path(__file__).resolve().parent.parent / "experiments" / "results"

#: Of tables that do not go by the name of their experiment.
_EXPERIMENT = {
    "serve_speed_peers": "serve_speed",
    "online_published_uniboost": "online_published",
    "online_tuning_chosen": "online_tuning",
    "online_tuning_estimators": "online_tuning",
    "sorted_f_paper_engine": "sorted_f_paper",
}


def write(folder: Path) -> None:
    """Write every table as ``folder/NAME.md``, for the page to include."""
    folder.mkdir(exist_ok=True)
    for name, lines in tables().items():
        experiment = _EXPERIMENT.get(name, name)
        text = "\n".join([*lines, "", source(experiment), ""])
        (folder / f"{name}.md").write_text(text)


def tables() -> dict[str, list[str]]:
    """Return the lines of each table, by the name of the experiment that it shows."""
    return {
        "demo": demo(),
        "certificates": certificates(),
        "sorted_f_paper": sorted_f_paper("rounds"),
        "sorted_f_paper_engine": sorted_f_paper("engine_s"),
        "worst_cases": worst_cases(),
        "compare_traces": compare_traces(),
        "capacity": capacity(),
        "gradients": gradients(),
        "tuning": tuning(),
        "tuning_curves": tuning_curves(),
        "throughput": throughput(),
        "serve_speed": serve_speed(),
        "serve_speed_peers": serve_speed_peers(),
        "memory": memory(),
        "scaling": scaling(),
        "schedulers_speed": schedulers_speed(),
        "selector_quality": selector_quality(),
        "workload_fit": workload_fit(),
        "online_rules": _online_tables.loads_at_goal(read),
        "online_hindsight": _online_tables.over_hindsight(read),
        "online_published": _online_tables.published(read),
        "online_published_uniboost": _online_tables.uniboost(read),
        "online_tuning": _online_tables.tuned(read),
        "online_tuning_chosen": _online_tables.chosen(read),
        "online_tuning_estimators": _online_tables.estimators(read),
        "prediction_error": _online_tables.prediction_error(read),
    }


def read(file: str, **where: str) -> list[Row]:
    """Rows of a results file whose columns match the patterns given."""
    with (RESULTS / file).open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [
        row
        for row in rows
        if all(
            fnmatch.fnmatchcase(row[name], pattern) for name, pattern in where.items()
        )
    ]


def source(name: str) -> str:
    """Say how, when and on what a result was made."""
    about = json.loads((RESULTS / f"{name}.manifest.json").read_text())
    cores = f"{about['cpu']['count']} cores of {about['cpu']['model']}"
    commit = str(about["commit"])[:10]
    return (
        f"*`{about['command']}`, jax {about['versions']['jax']} on {about['device']['platform']}, "
        f"{cores}, {about['date']}, commit {commit}.*"
    )


def demo() -> list[str]:
    """Rules on 64 backlogs."""
    metrics = {
        "mean_latency_rounds": ("mean latency, rounds", stored("mean")),
        "gap": ("above the bound", percent("mean")),
        "p99_latency_rounds": ("p99 latency, rounds", stored("mean")),
        "makespan_rounds": ("makespan, rounds", stored("mean")),
        "kv_use": ("KV use", percent("mean", 0)),
    }
    lines: dict[str, dict[str, str]] = {}
    for row in read("demo.csv"):
        if row["metric"] in metrics:
            lines.setdefault(row["rule"], {})[row["metric"]] = metrics[row["metric"]][
                1
            ](row)
    headers = ["rule", *(header for header, _ in metrics.values())]
    return table(
        headers,
        (
            [code(rule), *(cells.get(each, "") for each in metrics)]
            for rule, cells in lines.items()
        ),
    )


def certificates() -> list[str]:
    """Mean latency and gap of rules and of the search, by backlog size."""

    def cell(row: Row) -> str:
        return f"{number('mean_latency_rounds')(row)} ({percent('gap')(row)})"

    names = {"rule": "rule", "discipline": "discipline"}
    return pivot(
        read("certificates.csv"), ["rule", "discipline"], "requests", cell, names
    )


def sorted_f_paper(unit: str) -> list[str]:
    """Change of mean latency in a unit against Sorted-F, for the rules that tell most."""
    shown = ("fcfs", "shortest_output", "total_size", "smallest_volume")
    shown += ("receding_horizon", "sorted_lp")
    rows = [row for row in read("sorted_f_paper.csv") if row["rule"] in shown]
    return pivot(
        rows, ["case"], "rule", percent(f"change_{unit}_vs_sorted_f", sign="+")
    )


def worst_cases() -> list[str]:
    """Loss against serving the other class first."""
    names = {"family": "built against"}
    return pivot(
        read("worst_cases.csv"),
        ["family", "rule"],
        "kv_capacity",
        number("loss", 2),
        names,
    )


def compare_traces() -> list[str]:
    """Mean latency in seconds on real lengths."""
    rows = read("compare_traces.csv", metric="mean_latency_s")
    return pivot(rows, ["trace", "backlogs", "requests"], "rule", number("mean"))


def capacity() -> list[str]:
    """Least capacity that meets the target."""

    def limits(row: Row) -> str:
        ends = [number(f"kv_capacity_{end}")(row) for end in ("low", "high")]
        return " to ".join(filter(None, ends))

    cells = (number("kv_capacity"), limits, percent("saved"))
    return table(
        ["rule", "KV capacity, tokens", "95% interval", "saved"],
        (
            [code(row["rule"]), *(cell(row) for cell in cells)]
            for row in read("capacity.csv")
        ),
    )


def gradients() -> list[str]:
    """Cosine to a many-sample reference, at each point."""
    rows = read("gradients.csv")
    lines = pivot(rows, ["estimator"], "rule", number("cosine", 2))
    spent: dict[str, list[float]] = {}
    for row in rows:
        spent.setdefault(row["estimator"], []).append(float(row["evaluations"]))
    times = [f"{min(each):.1f} to {max(each):.1f}" for each in spent.values()]
    return [
        f"{line} {cell} |"
        for line, cell in zip(lines, ["evaluations", "---:", *times], strict=True)
    ]


def tuning() -> list[str]:
    """Held-out change against the best fixed rule and against Sorted-F."""
    change = interval("tuned_is_above_percent")
    against = {
        (row["backlogs"], row["objective"]): change(row)
        for row in read("tuning.csv", rule="sorted_f")
    }
    return table(
        [
            "backlogs",
            "objective",
            "best fixed rule",
            "tuned against it",
            "against `sorted_f`",
        ],
        (
            [
                *(code(row[name]) for name in ("backlogs", "objective", "rule")),
                change(row),
                against[row["backlogs"], row["objective"]],
            ]
            for row in read("tuning.csv", is_best_fixed="True")
        ),
        3,
    )


def tuning_curves() -> list[str]:
    """Change from smallest volume after all simulations."""
    rows = read("tuning_curves.csv")
    last = max(rows, key=lambda row: int(row["simulations"]))["simulations"]

    def cell(row: Row) -> str:
        return "{:+.2f}% [{:+.2f}, {:+.2f}]".format(
            *(float(row[name]) for name in ("mean", "low", "high"))
        )

    return pivot(
        [row for row in rows if row["simulations"] == last], ["method"], "rule", cell
    )


def throughput() -> list[str]:
    """Time of a call, and that time over numba's."""

    def cell(row: Row) -> str:
        return f"{number('jaxsched_s', 2, 1000)(row)} ({number('ratio', 2)(row)})"

    names = {"discipline": "order"}
    rows = read("throughput.csv")
    return pivot(rows, ["discipline", "requests", "instances"], "rule", cell, names)


def serve_speed() -> list[str]:
    """Time of a call, and that time over those of the two forms of the numba kernel."""
    cells = (
        number("jaxsched_ms"),
        number("requests_per_s"),
        number("ratio", 2),
        number("ratio_shared", 2),
    )
    return table(
        [
            *("lengths", "KV memory", "load", "streams", "ms a call", "requests/s"),
            *("over numba", "over numba, decodes shared"),
        ],
        (
            [
                *(code(row[name]) for name in ("lengths", "memory", "load", "streams")),
                *(cell(row) for cell in cells),
            ]
            for row in read("serve_speed.csv")
        ),
        2,
    )


def serve_speed_peers() -> list[str]:
    """List the requests a CPU second of other simulators, measured elsewhere."""
    columns = ("least_requests_per_cpu_s", "most_requests_per_cpu_s")
    return table(
        ["simulator", "least requests a CPU second", "most"],
        (
            [row["peer"], *(number(name)(row) for name in columns)]
            for row in read("serve_speed.peers.csv")
        ),
    )


def memory() -> list[str]:
    """Time and peak memory of a streamed sweep."""
    columns = ("instances", "wall_s", "simulations_per_s", "peak_mib")
    return table(
        ["backlogs", "seconds", "simulations a second", "peak memory, MiB"],
        ([stored(name)(row) for name in columns] for row in read("memory.csv")),
        0,
    )


def scaling() -> list[str]:
    """Time on several devices over time on one."""
    rows = read("scaling.csv")
    return pivot(
        rows, ["requests", "instances"], "devices", number("time_of_one_device", 2)
    )


def schedulers_speed() -> list[str]:
    """Time to order a backlog."""
    return table(
        ["scheduler", "workload", "requests", "compilation, s", "ms a backlog"],
        (
            [
                f"`{row['scheduler']}`",
                row["workload"],
                code(row["requests"]),
                number("compile_s", 1)(row),
                number("median_ms", 2)(row),
            ]
            for row in read("schedulers_speed.csv")
        ),
        2,
    )


def selector_quality() -> list[str]:
    """F of each selector's first batch over the least F."""
    cells = (
        number("mean", 4),
        percent("share_exact"),
        number("p99", 3),
        number("p100", 3),
    )
    return table(
        ["backlogs", "selector", "mean", "exact", "p99", "worst"],
        (
            [row["backlogs"], f"`{row['selector']}`", *(cell(row) for cell in cells)]
            for row in read("selector_quality.csv")
        ),
        2,
    )


def workload_fit() -> list[str]:
    """Moments of generated and real lengths."""
    means = [number(f"mean_{name}") for name in ("prompt", "output", "volume")]
    cells = [*means, number("pearson", 2), number("spearman", 2)]
    return table(
        [
            "workload",
            "sample",
            "mean prompt",
            "mean output",
            "mean volume",
            "Pearson",
            "Spearman",
        ],
        (
            [
                row["workload"],
                row["sample"].replace("_", " "),
                *(cell(row) for cell in cells),
            ]
            for row in read("workload_fit.csv")
        ),
        2,
    )
