"""Every process collects the same tests, at every time and in every order of hashes."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def collected(hash_seed):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "tests"]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return [line for line in run.stdout.splitlines() if "::" in line]


@pytest.mark.slow
def test_names_do_not_depend_on_the_process():
    first, second = collected(1), collected(2)
    assert len(first) > 1000
    assert first == second


@pytest.mark.slow
def test_names_are_short_and_printable():
    for name in collected(3):
        assert name.isascii(), name
        assert len(name) < 240, name
