"""The citation says what the package says of itself, in the Citation File Format."""

import re
import tomllib

from tests.conftest import ROOT

TEXT = (ROOT / "CITATION.cff").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_has_what_the_format_requires():
    fields = re.findall(r"^([a-z-]+):", TEXT, re.MULTILINE)
    assert len(set(fields)) == len(fields)
    assert {"cff-version", "message", "title", "authors"} <= set(fields)
    assert re.search(r'^authors:\n  - name: "\S.*"$', TEXT, re.MULTILINE)


def test_agrees_with_the_package():
    said = dict(re.findall(r'^([a-z-]+): "?([^"\n]+)"?$', TEXT, re.MULTILINE))
    assert said["cff-version"] == "1.2.0"
    assert said["title"] == PROJECT["name"]
    assert said["version"] == PROJECT["version"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", said["date-released"])
    assert said["license"] == PROJECT["license"]
    assert said["abstract"] == PROJECT["description"]
    assert re.findall(r"^  - (\S+)$", TEXT, re.MULTILINE) == PROJECT["keywords"]
