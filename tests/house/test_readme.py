"""The README's example runs as it stands."""

import re

import pytest

from tests.conftest import ROOT


@pytest.mark.jax_defaults
def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "my_rule" in capsys.readouterr().out
