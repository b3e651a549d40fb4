"""Every notebook runs from top to bottom, as a reader would run it."""

import nbclient
import nbformat
import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.slow  # each starts a kernel


def execute(path):
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources
    ).execute()


@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS])
def test_notebook_runs(name):
    execute(ROOT / "notebooks" / name)


def test_a_cell_that_fails_is_reported(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in ("total = 1 + 1", "assert total == 3")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "wrong.ipynb")
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="total == 3"):
        execute(tmp_path / "wrong.ipynb")
