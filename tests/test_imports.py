"""Imports point one way, and what is public can be reached."""

import ast
import graphlib
import importlib
import inspect
from pathlib import Path

import pytest

import jaxsched

PACKAGE = Path(jaxsched.__file__).parent

# Lowest first. A module imports from layers below its own, never from beside it; inside a
# subpackage, only cycles are ruled out. policies, bounds and workloads know the instance only.
LAYERS = (
    {"_pytree", "_storage", "_batching", "_order", "_one_kernel", "_slots"}
    | {"_names", "_progress", "_manifest", "_layout"},
    {"_shown"},
    {"instance"},
    {"schedule", "policies", "workloads", "traces"},
    {"bounds"},
    {"_usage", "_strict"},
    {"_earliest_fit"},
    {"_programs"},
    {"_anneal"},
    {"_verify", "_simulate", "clock", "testing"},
    {"metrics"},
    {"_intervals"},
    {"_tables", "_crossing", "plots", "export"},
    {"_comparison", "_capacity_plan"},
    {"_compare", "_improve", "_capacity_values"},
    {"_improve_rule"},
    {"tuning", "sweeps", "_capacity"},
    {"__init__"},
    {"cli"},
    {"__main__"},
)
# Rules that look ahead by simulating, or price by a bound.
EXCEPTIONS = {
    "policies.lp_guided": {"_simulate", "bounds"},
    "policies.price_guided": {"bounds"},
}


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path):
    """Modules of this package that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            root, _, inner = name.partition(".")
            if root == "jaxsched":
                yield inner if inner in MODULES else inner.rpartition(".")[0] or "__init__"


GRAPH = {name: sorted(set(imported(path))) for name, path in MODULES.items()}
PUBLIC = [name for name in MODULES if not any(part.startswith("_") for part in name.split("."))]


def component(name):
    return name.partition(".")[0]


def layer(name):
    found = [height for height, modules in enumerate(LAYERS) if component(name) in modules]
    assert found, f"jaxsched/{component(name)} has no place in LAYERS yet"
    return found[0]


def test_the_table_reads_imports():
    assert {"_pytree", "_storage"} <= set(GRAPH["instance"])
    assert "policies.index" in GRAPH["policies"]


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    for target in GRAPH[name]:
        if component(target) == component(name):
            continue
        is_exception = component(target) in EXCEPTIONS.get(name, ())
        assert layer(target) < layer(name) or is_exception, f"{name} imports {target}"


def test_no_modules_import_each_other():
    graphlib.TopologicalSorter(GRAPH).prepare()


@pytest.mark.parametrize("name", MODULES)
def test_private_modules_of_a_subpackage_stay_inside_it(name):
    for target in GRAPH[name]:
        parent, _, leaf = target.rpartition(".")
        is_private = bool(parent) and leaf.startswith("_")
        assert not is_private or f"{name}.".startswith(f"{parent}."), f"{name} imports {target}"


@pytest.mark.parametrize("name", ["__init__", *PUBLIC])
def test_public_names_exist_and_are_documented(name):
    module = jaxsched if name == "__init__" else importlib.import_module(f"jaxsched.{name}")
    assert module.__doc__, f"{name} has no docstring"
    for public in getattr(module, "__all__", ()):
        value = getattr(module, public)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert inspect.getdoc(value), f"{name}.{public} has no docstring"


def test_a_module_named_like_a_public_function_has_an_underscore():
    for public in jaxsched.__all__:
        is_module = inspect.ismodule(getattr(jaxsched, public))
        assert is_module == (public in MODULES), f"jaxsched.{public} hides a module, or is none"
