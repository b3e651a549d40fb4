"""Results of experiments have one form: tables of five digits beside a small manifest."""

import csv
import json
import re

import pytest

from tests.conftest import ROOT

RESULTS = ROOT / "experiments" / "results"
TABLES = sorted(path.name for path in RESULTS.glob("*.csv"))
MANIFESTS = sorted(path.name for path in RESULTS.glob("*.json"))
KEYS = {"command", "seed", "versions", "device", "cpu", "date", "commit", "dirty"}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_a_manifest(name):
    assert (RESULTS / f"{name.partition('.')[0]}.manifest.json").is_file()


@pytest.mark.parametrize("name", TABLES)
def test_numbers_have_five_digits(name):
    with (RESULTS / name).open(newline="") as lines:
        cells = [cell for row in csv.reader(lines) for cell in row]
    fractions = [cell for cell in cells if re.fullmatch(r"-?\d+\.\d+(e[-+]\d+)?", cell)]
    digits = {cell: re.sub(r"e.*|[-.]", "", cell).lstrip("0") for cell in fractions}
    assert not [cell for cell, shown in digits.items() if len(shown) > 5]


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_has_one_line_a_key(name):
    text = (RESULTS / name).read_text()
    about = json.loads(text)
    assert name.endswith(".manifest.json")
    assert set(about) >= KEYS
    assert len(text.splitlines()) == len(about) + 2


def test_every_experiment_is_listed():
    listed = (ROOT / "experiments" / "README.md").read_text()
    scripts = [path.name for path in (ROOT / "experiments").glob("[!_]*.py")]
    assert not [name for name in scripts if f"`python experiments/{name}`" not in listed]
