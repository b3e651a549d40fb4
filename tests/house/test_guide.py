"""Every page of the guide prints what it says, shows something, and links to what is there."""

import re

import pytest

from docs._outputs import refreshed
from tests.conftest import ROOT

PAGES = {path.name: path for path in [ROOT / "docs/index.md", *(ROOT / "docs/guide").glob("*.md")]}
WITH_LINKS = {
    str(path.relative_to(ROOT)): path
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs/guide").glob("*.md"),
        ROOT / "experiments/README.md",
    ]
}
WIDEST = 90  # characters of a code block that fit the page


def notebook(path):
    """Where a notebook lies before the pages are built."""
    return ROOT / "notebooks" / path.name


@pytest.mark.slow
@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", PAGES)
def test_examples_print_what_the_page_says(name):
    """If they print something else: python docs/_outputs.py PAGE, and read what changed."""
    text = PAGES[name].read_text()
    assert refreshed(text, name) == text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_output_or_a_picture(name):
    assert re.search(r"^(```text|```console|!\[)", PAGES[name].read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_code_fits_the_page(name):
    blocks = re.findall(r"^```\w+\n(.*?)^```", PAGES[name].read_text(), re.DOTALL | re.MULTILINE)
    assert not [line for block in blocks for line in block.splitlines() if len(line) > WIDEST]


@pytest.mark.parametrize("name", WITH_LINKS)
def test_links_lead_to_files(name):
    text = re.sub(r"^```.*?^```", "", WITH_LINKS[name].read_text(), flags=re.DOTALL | re.MULTILINE)
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    local = [target for target in targets if target and "://" not in target]
    paths = [(WITH_LINKS[name].parent / target).resolve() for target in local]
    assert not [path for path in paths if not (path.exists() or notebook(path).exists())]


def test_an_output_that_differs_is_noticed():
    page = "```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n"
    assert refreshed(page, "page") == page.replace("3", "2")
