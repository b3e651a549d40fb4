"""Every example in a docstring runs, under jax's own defaults."""

import doctest
import importlib
from pathlib import Path

import pytest

import jaxsched

PACKAGE = Path(jaxsched.__file__).parent
NAMES = [
    ".".join(("jaxsched", *path.relative_to(PACKAGE).with_suffix("").parts))
    .removesuffix(".__init__")
    .removesuffix(".__main__")
    for path in sorted(PACKAGE.rglob("*.py"))
]
SLOW = ("jaxsched.tuning._tune.tune", "jaxsched.tuning._fidelity.fidelity")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
EXAMPLES = {
    test.name: test
    for name in dict.fromkeys(NAMES)
    for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if test.examples
}


@pytest.mark.jax_defaults
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in EXAMPLES],
)
def test_example(name):
    report = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(EXAMPLES[name], out=report.append)
    assert not report, "".join(report)


def test_examples_were_found():
    assert {"jaxsched.model.instance.Instance", "jaxsched.policies.scores.index.fcfs"} <= set(
        EXAMPLES
    )
    assert set(SLOW) <= set(EXAMPLES)
