"""Registries: look-up by name and alias, and entry points loaded when they are asked for."""

import sys
import tomllib

import pytest

from jaxsched import policies
from jaxsched._lib.registry import PluginRegistry, Registry
from jaxsched.model.instance import Instance
from tests.conftest import ROOT

GROUP = "jaxsched.rules"


@pytest.fixture
def bounds():
    registry = Registry("bound", {"volume": 1})
    registry.add("mean_busy", 2, aliases=["busy"])
    return registry


def test_names_come_in_order_and_aliases_are_found_but_not_listed(bounds):
    assert list(bounds) == ["volume", "mean_busy"]
    assert bounds["busy"] == 2
    assert bounds.name_of("busy") == bounds.name_of("mean_busy") == "mean_busy"
    assert "busy" in bounds
    assert len(bounds) == 2


def test_it_is_a_mapping(bounds):
    assert bounds.get("price") is None
    assert dict(bounds) == {"volume": 1, "mean_busy": 2}
    bounds["price"] = 3
    assert bounds["price"] == 3


@pytest.mark.parametrize("name", ["volum", "", None, 3, ["volume"]])
def test_an_unknown_name_is_an_error_that_lists_what_is_known(bounds, name):
    assert name not in bounds
    with pytest.raises(ValueError, match="no bound is called"):
        bounds[name]


def test_a_taken_name_is_refused(bounds):
    for taken in ("volume", "busy"):
        with pytest.raises(ValueError, match=f"'{taken}' is registered already"):
            bounds.add(taken, 4)
    bounds.add("mean_busy", 5, replace=True)
    assert bounds["mean_busy"] == 5
    assert "busy" not in bounds


def test_a_copy_is_apart(bounds):
    other = bounds.copy()
    other.add("price", 3)
    assert "price" not in bounds
    assert other["busy"] == 2


def install(folder, entries):
    """Put a distribution of one module on a path, with these entry points."""
    (folder / "shipped_rules.py").write_text(
        '"""Rules of a third party."""\n\n'
        "def longest_prompt(sign=1):\n"
        '    """Longest prompt first."""\n'
        "    return lambda inst: -sign * inst.prompt_tokens\n"
    )
    metadata = folder / "shipped_rules-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shipped-rules\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    entries = {"longest_prompt": "shipped_rules:longest_prompt", "broken": "shipped_rules:nothing"}
    install(tmp_path, entries | {"fcfs": "shipped_rules:longest_prompt"})
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("shipped_rules", None)


@pytest.mark.usefixtures("shipped")
def test_a_distribution_ships_rules_that_are_loaded_when_asked_for():
    assert {"longest_prompt", "broken"} <= set(policies.names())
    assert "shipped_rules" not in sys.modules
    info = policies.info("longest_prompt")
    assert (info.summary, info.options) == ("Longest prompt first.", ("sign",))
    inst = Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    assert policies.prioritize(inst, "longest_prompt").tolist() == [-3, -1]
    assert policies.make("longest_prompt", sign=-1)(inst).tolist() == [3, 1]


@pytest.mark.usefixtures("shipped")
def test_a_rule_that_does_not_load_is_named_and_spoils_no_other():
    with pytest.raises(ImportError, match="rule 'broken' of shipped-rules cannot be loaded from"):
        policies.make("broken")
    assert policies.make("fcfs") is policies.fcfs


def test_the_entry_points_of_this_package_need_no_metadata(monkeypatch):
    # An installation may be older than the code, or there may be none.
    monkeypatch.setattr("jaxsched._lib.registry.entry_points", lambda **group: ())
    registry = PluginRegistry(
        "rule", GROUP, {"here": f"{__name__}:GROUP"}, lambda name, value: value
    )
    assert list(registry) == ["here"]
    assert registry["here"] == GROUP


def test_the_code_declares_the_entry_points_that_pyproject_does():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    own = policies.registry._RULES.own
    assert declared == {GROUP: own}


def test_a_registered_rule_takes_the_place_of_an_entry_point_if_it_says_so():
    with pytest.raises(ValueError, match="'improve' is registered already"):
        policies.register("improve", policies.fcfs)
    policies.register("improve", policies.fcfs, replace=True)
    assert policies.make("improve") is policies.fcfs
