"""How Sphinx builds these pages: ``make docs``. Nothing here needs the network."""

import shutil
from importlib.metadata import version as version_of
from pathlib import Path

project = "jaxsched"
author = "the jaxsched authors"
version = release = version_of("jaxsched")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
html_theme = "furo"
html_title = "jaxsched"
exclude_patterns = ["_build"]

nb_execution_mode = "off"  # the tests run every notebook; they are kept without outputs
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings give types with shapes and units
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Source"]

# Sphinx reads only what lies in its own folder.
HERE = Path(__file__).parent
shutil.copytree(
    HERE.parent / "notebooks",
    HERE / "notebooks",
    ignore=lambda folder, names: [name for name in names if not name.endswith(".ipynb")],
    dirs_exist_ok=True,
)


def _skip_what_pytrees_add(app, kind, name, member, skip, options):
    """Leave out the method that every pytree has."""
    return True if name == "replace" else None


def setup(app):
    """Tell autodoc what to leave out."""
    app.connect("autodoc-skip-member", _skip_what_pytrees_add)
