"""The README is short, shows one picture and one table, and its example prints what it says."""

import re

import pytest

from docs._outputs import refreshed
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
MOST_LINES, MOST_WORDS = 110, 700


def test_it_is_short():
    assert len(README.splitlines()) <= MOST_LINES
    assert len(README.split()) < MOST_WORDS


def test_it_has_one_picture_and_one_table():
    assert len(re.findall(r"^!\[", README, re.MULTILINE)) == 1
    assert len(re.findall(r"^\| --- ", README, re.MULTILINE)) == 1


@pytest.mark.jax_defaults
def test_the_example_prints_what_it_says():
    assert refreshed(README, "README.md") == README


def test_it_links_every_guide():
    linked = set(re.findall(r"\((docs/guide/\w+\.md)\)", README))
    assert linked == {str(path.relative_to(ROOT)) for path in (ROOT / "docs/guide").glob("*.md")}
