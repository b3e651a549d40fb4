"""Help, usage errors and completion answer without loading jax or the library."""

import os
import subprocess
import sys

import pytest

import jaxsched as js
from jaxsched.cli import _names as names
from tests.conftest import ROOT

HEAVY = ("jax", "numpy", "scipy", "optax", "matplotlib")
SHOW_MODULES = "import sys; from jaxsched.cli import main; code = main(sys.argv[1:]); "
COMMANDS = [
    "compare",
    "simulate",
    "serve",
    "bound",
    "improve",
    "calibrate",
    "capacity",
    "sweep",
    "tune",
    "export",
    "policies",
    "workloads",
    "trace",
]


def process(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("", 0),
        ("--help", 0),
        ("-h", 0),
        ("compare -h", 0),
        ("serve -h", 0),
        ("--version", 0),
        ("compare --polices svf", 2),
        ("compar", 2),
        ("compare --seed -1", 2),
        ("compare --capacity big", 2),
        ("compare --requests 0", 2),
        ("compare --workload chat --trace x.csv", 2),
        ("tune", 2),
        ("serve --rate 1", 2),
        ("serve --server llama3.1_8b_h100 --rate 0", 2),
    ],
)
def test_answers_without_the_library(arguments, code):
    done = process(SHOW_MODULES + "print(code, *sys.modules)", *arguments.split())
    exit_code, *modules = done.stdout.splitlines()[-1].split()
    assert int(exit_code) == code
    assert not set(HEAVY) & set(modules)


def completed(text):
    """What bash is offered after this text, the last word of which is not finished."""
    words = text.split(" ")
    done = process(
        "import sys; from jaxsched.cli import script\n"
        "try:\n    script()\n"
        "finally:\n    print('LOADED', *sys.modules)",
        _JAXSCHED_COMPLETE="complete_bash",
        COMP_WORDS=text,
        COMP_CWORD=str(len(words) - 1),
    )
    *offered, loaded = done.stdout.splitlines()
    assert not set(HEAVY) & set(loaded.split())
    return offered


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("jaxsched comp", ["compare"]),
        ("jaxsched compare --poli", ["--policies"]),
        ("jaxsched simulate --policy smallest", ["smallest_volume"]),
        (
            "jaxsched compare --policies fcfs,short",
            ["fcfs,shortest_output", "fcfs,shortest_prompt", "fcfs,shortest_remaining"],
        ),
        ("jaxsched compare --workload m", ["mixed"]),
        ("jaxsched compare --server llama3_", ["llama3_8b_a100"]),
        ("jaxsched serve --server llama3_", ["llama3_8b_a100"]),
        ("jaxsched serve --policies fcfs,smallest", ["fcfs,smallest_volume"]),
        ("jaxsched compare --bound no", ["none"]),
        ("jaxsched bound --bounds price,volume,", ["price,volume,mean_busy"]),
        (
            "jaxsched tune --objective p",
            ["p_norm", "p99_latency", "p99_ttft", "p99_tpot", "p99_e2e", "p99_slowdown"],
        ),
        ("jaxsched capacity --vary s", ["servers"]),
        ("jaxsched trace --download moon", ["mooncake_conversation"]),
    ],
)
def test_completes_names(text, offered):
    assert completed(text) == offered


def test_completion_knows_the_names_of_the_library():
    """Whoever adds a name adds it to ``jaxsched/cli/_names.py`` as well."""
    assert set(names.RULES) == set(js.policies.names())
    assert set(names.WORKLOADS) == {*js.workloads.WORKLOADS, "uniform"}
    assert set(names.SERVERS) == set(js.servers.names())
    assert {*names.BOUNDS} == {"volume", "mean_busy", "price"}
    assert set(names.TRACES) == set(js.traces.SOURCES)
    assert set(names.OBJECTIVES) == set(js.tuning.OBJECTIVES)
    assert all(hasattr(js.tuning.objectives, name) for name in names.SERVICE_OBJECTIVES)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_short_help(run, command):
    assert run(command, "-h") == run(command, "--help")
    assert run(command, "-h")[0] == 0
