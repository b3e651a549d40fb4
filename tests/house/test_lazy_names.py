"""``import jaxsched`` is cheap: a name loads what it needs when it is first used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import jaxsched as js
from tests.conftest import ROOT

HEAVY = {"jax", "numpy", "scipy", "optax", "rich", "typer", "tqdm", "matplotlib"}


def printed(code):
    """What a new process prints that runs this code."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_importing_the_package_loads_no_library():
    loaded = printed("import sys, jaxsched; print(*sys.modules)").split()
    assert "jaxsched" in loaded
    assert not HEAVY & set(loaded)
    assert [name for name in loaded if name.startswith("jaxsched.")] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", js.__all__)
def test_each_name_resolves_in_a_process_of_its_own(name):
    assert printed(f"import jaxsched; print(jaxsched.{name} is not None)") == "True\n"


@pytest.mark.parametrize(
    "code",
    [
        "from jaxsched.traces import load",
        "from jaxsched import traces; traces.load",
        "import jaxsched as js; js.traces.load",
        "from jaxsched.policies import make; make('improve')",
        "import jaxsched as js; js.policies.make('improve')",
    ],
)
def test_every_way_to_a_name_works(code):
    assert printed(f"{code}; print('there')") == "there\n"


def test_names_are_listed_and_others_refused():
    assert set(js.__all__) <= set(dir(js))
    with pytest.raises(AttributeError, match="module 'jaxsched' has no attribute 'simulat'"):
        js.simulat  # noqa: B018


def test_type_checkers_see_the_same_names():
    stub = Path(js.__file__).with_suffix(".pyi")
    names = [
        (node.module, alias.name)
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted(name for _, name in names) == sorted(js.__all__)
    for module, name in names:
        assert getattr(importlib.import_module(module), name) is getattr(js, name)
