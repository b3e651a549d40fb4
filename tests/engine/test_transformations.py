"""Meshes, sharding, export and gradients: all the ways of jax give the same numbers."""

import functools
import json
import os
import subprocess
import sys

import jax
import pytest

from tests.engine.many_devices import CHECKS, ENGINES

DEVICES = "--xla_force_host_platform_device_count=4"


@functools.cache
def errors_of(engine, rootpath):
    cache = jax.config.jax_compilation_cache_dir
    child = subprocess.run(
        [sys.executable, "-m", "tests.engine.many_devices", engine, cache],
        cwd=rootpath,
        env={
            **os.environ,
            "PYTHONPATH": str(rootpath),
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {DEVICES}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout.splitlines()[-1])


@pytest.mark.parametrize("check", [check.__name__ for check in CHECKS])
@pytest.mark.parametrize(
    "engine",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != "strict")) for name in ENGINES],
)
def test_gives_the_same_numbers(engine, check, pytestconfig):
    assert errors_of(engine, pytestconfig.rootpath)[check] == ""
