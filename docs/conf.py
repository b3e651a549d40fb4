"""How Sphinx builds these pages: ``make docs``. Nothing here needs the network, nor do the pages.

The notebooks run, their outputs are kept in ``_build``, and one that fails fails the build.
"""

import shutil
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import _tables  # noqa: E402

project = "jaxsched"
author = "the jaxsched authors"
version = release = version_of("jaxsched")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",  # serves MathJax with the pages
]
html_theme = "furo"
html_title = "jaxsched"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
exclude_patterns = ["_build", "_tables"]

nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_raise_on_error = True
nb_execution_timeout = 600
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings give types with shapes and units
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Source"]

# Sphinx reads only what lies in its own folder.
shutil.copytree(
    HERE.parent / "notebooks",
    HERE / "notebooks",
    ignore=lambda folder, names: [
        name for name in names if not name.endswith(".ipynb")
    ],
    dirs_exist_ok=True,
)
_tables.write(HERE / "_tables")


def _skip(app, kind, name, member, skip, options):
    """Leave out what classes get without writing it: replace of pytrees, fields of named tuples."""
    is_field_number = (getattr(member, "__doc__", None) or "").startswith(
        "Alias for field number"
    )
    return True if name == "replace" or is_field_number else None


def setup(app):
    """Tell autodoc what to leave out."""
    app.connect("autodoc-skip-member", _skip)
