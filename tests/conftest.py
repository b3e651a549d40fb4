"""Settings and fixtures that all tests share."""

import contextlib
import os
from importlib.metadata import version
from pathlib import Path

# Most of the time of the tests goes into compiling programs that run once: optimize little, leave
# one piece for each thread and, where jaxlib still has it, fuse the old way, which is quicker to
# compile. Before jax is imported; flags that the environment sets count instead.
os.environ["XLA_FLAGS"] = os.environ.get(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    # A jaxlib stops at a flag that it does not know.
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)

import hypothesis
import jax
import pytest

from jaxsched._lib import programs
from jaxsched.cli import main
from jaxsched.policies import registry

ROOT = Path(__file__).resolve().parent.parent
_LONGEST_ID = 40

programs.MOST_KEPT = 10**9  # tests share what they compile, and some count it

hypothesis.settings.register_profile("jaxsched", derandomize=True, deadline=None)
hypothesis.settings.load_profile("jaxsched")


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "jax_defaults: runs as a user's code does, without this package's strict settings",
    )
    # Compiled programs are kept between runs (pytest --cache-clear drops them). A damaged entry,
    # as left by a run that was killed, is only compiled anew.
    config.addinivalue_line(
        "filterwarnings", "ignore:Error (reading|writing) persistent compilation cache"
    )
    jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_make_parametrize_id(config, val, argname):
    """Number parameters that are bytes or long: a test's name tells no content apart.

    The processes of ``pytest -n 2`` must collect the same names.
    """
    if isinstance(val, bytes):
        return argname
    is_text = isinstance(val, (str, int, float))
    return argname if is_text and len(str(val)) > _LONGEST_ID else None


@pytest.fixture(autouse=True)
def _jax_settings(request):
    """Hold the package to strict promotion; restore jax's defaults for ``jax_defaults``.

    The settings are global ones, not thread-local contexts, so that worker threads share them.
    """
    is_strict = request.node.get_closest_marker("jax_defaults") is None
    jax.config.update("jax_numpy_dtype_promotion", "strict" if is_strict else "standard")
    jax.config.update("jax_numpy_rank_promotion", "raise" if is_strict else "allow")
    yield
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    jax.config.update("jax_numpy_rank_promotion", "allow")


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    """Forget what a test registers."""
    monkeypatch.setattr(registry, "_RULES", registry._RULES.copy())


@pytest.fixture(params=[False, True], ids=["x32", "x64"])
def x64(request):
    """Run the test twice, with ``jax_enable_x64`` off and on; the value says which."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param)
    yield request.param
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(scope="session")
def data_dir():
    """Folder of the real request lengths, which are no part of this repository."""
    folder = Path(os.environ.get("JAXSCHED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            f"no real request lengths in {folder}; point JAXSCHED_DATA at a folder that holds "
            "azure2023_conv.csv.gz and arxiv_summarization.csv.gz"
        )
    return folder


@pytest.fixture
def compiled():
    """``with compiled() as events:`` lists what jax compiles inside."""

    @contextlib.contextmanager
    def listening():
        events = []

        def listen(event, duration_secs, **kwargs):
            if "compile" in event:
                events.append(event)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield events
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)

    return listening


@pytest.fixture
def run(capsys):
    """Run the command line in this process; gives exit code, stdout and stderr."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run
