"""Imports point one way, and what is public can be reached."""

import ast
import graphlib
import importlib
import inspect
from pathlib import Path

import pytest

import jaxsched

PACKAGE = Path(jaxsched.__file__).parent

# Lowest first. A module imports from rooms below its own and from inside its own, never from beside
# or above. The doors are public names of modules that live in a room.
ROOMS = (
    {"_lib"},
    {"model"},
    {"engine", "bounds", "metrics", "workloads", "servers"},
    {"policies", "show"},
    {"tuning", "search"},
    {"studies"},
    {"cli"},
)
DOORS = {
    "__init__",
    "__main__",
    "calibrate",
    "clock",
    "export",
    "plots",
    "sweeps",
    "testing",
    "traces",
}
MOST_LINES = 400


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path, nodes=ast.walk):
    """Modules of this package that a file imports, also inside functions."""
    for node in nodes(ast.parse(path.read_text())):
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


def height(name):
    found = [level for level, rooms in enumerate(ROOMS) if component(name) in rooms]
    assert found, f"jaxsched/{component(name)} has no place in ROOMS yet"
    return found[0]


def test_the_table_reads_imports():
    assert {"_lib.pytree", "_lib.npz"} <= set(GRAPH["model.instance"])
    assert "policies.scores.index" in GRAPH["policies"]


@pytest.mark.parametrize("name", sorted(MODULES.keys() - DOORS))
def test_imports_point_down(name):
    for target in GRAPH[name]:
        if component(name) == "cli" and target == "__init__":
            continue  # the command line uses the package as its users do
        assert component(target) not in DOORS, f"{name} imports {target}, a name for users"
        if component(target) != component(name):
            assert height(target) < height(name), f"{name} imports {target}"


@pytest.mark.parametrize("name", MODULES)
def test_files_are_short(name):
    lines = len(MODULES[name].read_text().splitlines())
    assert lines <= MOST_LINES, f"{MODULES[name]} has {lines} lines; split it"


def test_no_modules_import_each_other_while_they_load():
    at_load = {
        name: set(imported(path, nodes=ast.iter_child_nodes)) for name, path in MODULES.items()
    }
    graphlib.TopologicalSorter(at_load).prepare()


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
