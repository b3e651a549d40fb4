"""Prose says only what results show, in sentences that can be read aloud."""

import json
import re

import pytest

from tests.conftest import ROOT
from tests.house import prose

MOST_WORDS, MOST_NUMBERS = 20, 2  # of a sentence
STILTED = r"that of|what there is|whatever|as they are"
BRITISH = (
    r"\w*(?:ummar|ptim|orm?al|ener?al|inim|axim|andom|niti?al|ector|arallel)is(?:e[ds]?|ing|ation)"
    r"|colour\w*|behaviour\w*|neighbour\w*|programmes?|centres?|licence|labell\w*"
    r"|modell\w*|favour\w*|grey"
)

PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "experiments" / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs" / "guide").glob("*.md")),
    )
}
for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
    cells = json.loads(path.read_text())["cells"]
    PAGES[f"notebooks/{path.name}"] = "\n\n".join(
        "```\n{}\n```".format("".join(cell["source"]))
        if cell["cell_type"] == "code"
        else "".join(cell["source"])
        for cell in cells
    )


@pytest.mark.parametrize("name", PAGES)
def test_numbers_have_a_source(name):
    wrong = [f"{name}:{line}: {number}" for line, number in prose.unsupported(PAGES[name])]
    assert not wrong, "in no results file that the paragraph names, nor in an example of the page"


@pytest.mark.parametrize("name", PAGES)
def test_sentences_are_short(name):
    long = [
        f"{len(sentence.split())} words: {sentence}"
        for paragraph in prose.paragraphs(PAGES[name])
        for sentence in prose.sentences(paragraph)
        if len(sentence.split()) > MOST_WORDS
    ]
    assert not long


@pytest.mark.parametrize("name", PAGES)
def test_sentences_hold_few_numbers(name):
    crowded = [
        sentence
        for paragraph in prose.paragraphs(PAGES[name])
        for sentence in prose.sentences(paragraph)
        if len(prose.numbers(sentence)) > MOST_NUMBERS
    ]
    assert not crowded


@pytest.mark.parametrize("name", PAGES)
def test_words_are_plain_american_english(name):
    for paragraph in prose.paragraphs(PAGES[name]):
        text = prose.plain(paragraph.text)
        found = re.search(rf"\b(?:{STILTED}|{BRITISH})\b", text, re.IGNORECASE)
        assert not found, f"{name}:{paragraph.line}: {found[0]}"


SOURCE = "<!-- results: capacity.csv | rule=fcfs | kv_capacity -->"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"It needs 38,377 tokens.\n{SOURCE}", []),
        (f"It needs 38,378 tokens.\n{SOURCE}", ["38,378"]),
        ("It needs 38,377 tokens.", ["38,377"]),
        (f"It needs 12,529 tokens.\n{SOURCE}", ["12,529"]),  # of another rule
        (f"It needs 38,377 tokens.\n\nFar away.\n{SOURCE}", ["38,377"]),
        ("It saves 67.4%.\n<!-- results: capacity.csv | rule=small* | saved -->", []),
        ("It saves 67.3%.\n<!-- results: capacity.csv | rule=small* | saved -->", ["67.3%"]),
        ("It saves 67%.\n<!-- results: capacity.csv | rule=small* | saved -->", []),
        ("It saves 0.7%.\n<!-- results: capacity.csv | rule=small* | saved -->", []),
        ("Of 128 backlogs.\n<!-- results: capacity.manifest.json | | instances -->", []),
        ("All 9 pairs.\n<!-- results: worst_cases.exponents.csv | | count -->", []),
        ("All 8 pairs.\n<!-- results: worst_cases.exponents.csv | | count -->", ["8"]),
        ("A call takes 3.9 ms.\n<!-- results: throughput.csv | requests=200 | jaxsched_s -->", []),
        (
            "It takes 3.95 ms.\n<!-- results: throughput.csv | requests=200 | jaxsched_s -->",
            ["3.95 ms"],
        ),
        ("The page has 64 of them.\n\n```python\nbatch = 64\n```", []),
        ("```{glossary}\nblock\n  Often 16 tokens.\n```", ["16"]),
        ("The page has 65 of them.\n\n```python\nbatch = 64\n```", ["65"]),
        ("In 2025, Python 3.11, arXiv:2508.06133, p99, `n = 7`, $x^2$ and a 95% interval.", []),
        ("On A100 and Llama-2-70B.", []),
    ],
)
def test_the_checker_finds_wrong_numbers(text, wrong):
    assert [number for _, number in prose.unsupported(text)] == wrong


@pytest.mark.parametrize(
    "source", ["nothing.csv | |", "capacity.csv | rule=nobody |", "capacity.csv | color=red |"]
)
def test_a_source_must_exist(source):
    with pytest.raises((ValueError, KeyError)):
        prose.values(source)


def test_sentences_are_told_apart():
    (paragraph,) = prose.paragraphs("One `code. Here` fact. Two [linked](a.md) facts.\n- An item.")
    assert prose.sentences(paragraph) == ["One CODE fact.", "Two linked facts.", "An item."]


@pytest.mark.parametrize("word", ["behaviour", "optimised", "colours", "grey", "programme"])
def test_british_words_are_found(word):
    assert re.fullmatch(BRITISH, word)


@pytest.mark.parametrize("word", ["behavior", "optimized", "colors", "program", "promise"])
def test_american_words_pass(word):
    assert not re.fullmatch(BRITISH, word)
