"""What is public is documented: arguments, results and fields by name, functions by example."""

import dataclasses
import importlib
import inspect
import re

import pytest

import jaxsched as js

MODULES = [js, *filter(inspect.ismodule, (getattr(js, name) for name in js.__all__))]
MODULES += [
    importlib.import_module(f"jaxsched.{name}")
    for name in (
        "policies.features",
        "policies.selectors",
        "tuning.estimators",
        "tuning.objectives",
        "tuning.relaxations",
        "workloads.arrivals",
    )
]
HELPERS = {"plots.new_axes", "plots.stacked_axes"}  # of the pictures, which the examples show


def public(module):
    """Names and values of what a module offers: its ``__all__``, or else what it defines."""
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__}
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


def unwrapped(value):
    return getattr(value, "__func__", getattr(value, "fget", value))


NAMES = {
    f"{module.__name__}.{name}".removeprefix("jaxsched."): value
    for module in MODULES
    for name, value in public(module).items()
}
FUNCTIONS = {name: value for name, value in NAMES.items() if inspect.isfunction(value)}
CLASSES = {name: value for name, value in NAMES.items() if inspect.isclass(value)}
ADDED = {"replace"}  # to every pytree
METHODS = {
    f"{name}.{method}": unwrapped(value)
    for name, kind in CLASSES.items()
    for base in reversed(kind.__mro__)
    for method, value in vars(base).items()
    if not method.startswith("_")
    and method not in ADDED
    and inspect.isfunction(unwrapped(value))
    and unwrapped(value).__module__.startswith("jaxsched")
}


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return [each.name for each in found if each.name not in ("self", "cls")]


def is_entry(name, section, text):
    """Whether a section of a docstring has an entry of this name."""
    body = text.partition(f"\n{section}:\n")[2]
    body = re.split(r"\n(?=\S)", body)[0]
    return re.search(rf"^ +\*{{0,2}}{name}\b.*:", body, re.MULTILINE) is not None


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_arguments_are_explained(name):
    function = {**FUNCTIONS, **METHODS}[name]
    text = inspect.getdoc(function)
    assert text, f"{name} has no docstring"
    missing = [each for each in parameters(function) if not is_entry(each, "Args", text)]
    assert not missing, f"{name} does not explain {missing}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_say_what_they_return_and_show_it(name):
    text = inspect.getdoc(FUNCTIONS[name])
    if inspect.signature(FUNCTIONS[name]).return_annotation not in (None, "None"):
        assert "\nReturns:\n" in text, f"{name} does not say what it returns"
    assert name in HELPERS or "  >>> " in text, f"{name} has no example"


@pytest.mark.parametrize("name", CLASSES)
def test_fields_of_classes_are_explained(name):
    kind = CLASSES[name]
    text = inspect.getdoc(kind)
    assert text, f"{name} has no docstring"
    fields = getattr(kind, "_fields", ())
    if dataclasses.is_dataclass(kind):
        fields = [field.name for field in dataclasses.fields(kind) if field.name[0] != "_"]
    missing = [field for field in fields if not is_entry(field, "Attributes", text)]
    assert not missing, f"{name} does not explain {missing}"


@pytest.mark.parametrize("name", NAMES)
def test_sources_are_named_in_full(name):
    """A paper is cited with its year and arXiv number or journal."""
    text = inspect.getdoc(NAMES[name]) or ""
    source = text.partition("\nSource:\n")[2]
    if source and "ours" not in source.lower():
        assert re.search(r"(arXiv:\d{4}\.\d{5}|\b(19|20)\d\d\b)", source), name


def test_there_is_something_to_check():
    assert {"simulate", "compare", "metrics.latency", "policies.fcfs"} <= set(FUNCTIONS)
    assert {"Instance.from_lengths", "Comparison.estimate"} <= set(METHODS)
