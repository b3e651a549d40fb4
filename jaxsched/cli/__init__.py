"""The command line: one command a function, and one place that reports errors."""

from __future__ import annotations

import _thread
import contextlib
import functools
import re
import shlex
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import jax
import platformdirs
import typer

from jaxsched._lib.progress import compiling_line
from jaxsched.cli import _capacity, _catalogue, _certificates, _runs, _sweep, _tuning

_BAD_INPUT, _INTERRUPTED = 2, 130

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(_runs.compare)
app.command()(_runs.simulate)
app.command()(_certificates.bound)
app.command()(_certificates.improve)
app.command()(_capacity.capacity)
app.command()(_sweep.sweep)
app.command()(_tuning.tune)
app.command()(_catalogue.policies)
app.command()(_catalogue.workloads)
app.command()(_catalogue.trace)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"jaxsched {version('jaxsched')}")
        raise typer.Exit


@app.callback()
def _options(
    is_version_asked: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Schedule LLM inference under a KV-cache budget."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
      arguments: what follows the command's name; by default those of this process.

    Returns:
      The exit code: 0, 2 after bad input (one line on stderr says what), 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    _keep_compiled_programs()
    try:
        with warnings.catch_warnings(), _interrupts_not_lost(), compiling_line():
            warnings.showwarning = functools.partial(_show_warning, arguments[0])
            code = app(
                args=arguments,
                prog_name="jaxsched",
                obj=shlex.join(["jaxsched", *arguments]),
                standalone_mode=False,
            )
    except typer.TyperException as error:
        where = getattr(getattr(error, "ctx", None), "command_path", "jaxsched")
        return _report("error", f"{error.format_message()} See {where} --help.", _BAD_INPUT)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _report("error", what, _BAD_INPUT)
    except (ImportError, ValueError) as error:
        return _report("error", _in_options(str(error), arguments[0]), _BAD_INPUT)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code or 0


@contextlib.contextmanager
def _interrupts_not_lost() -> Iterator[None]:
    """Interrupt again if Python drops an interrupt, as in a callback of its garbage collector."""

    def hook(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            threading.Timer(0.05, _thread.interrupt_main).start()  # once out of the callback
        else:
            before(unraisable)

    before, sys.unraisablehook = sys.unraisablehook, hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _keep_compiled_programs() -> None:
    """Let jax keep what it compiles in the user's cache folder, unless told another place."""
    config: Any = jax.config  # whose flags type checkers do not know
    if config.jax_compilation_cache_dir is None:
        folder = platformdirs.user_cache_path("jaxsched") / "xla"
        config.update("jax_compilation_cache_dir", str(folder))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        config.update("jax_persistent_cache_min_entry_size_bytes", -1)


#: What the package calls its arguments, and what they are called here.
_AS_OPTIONS = {
    "drop_invalid=True": "--drop-invalid",
    "batch is": "--instances is",
    "admission is": "--admission is",
    "discipline is": "--discipline is",
    "num_requests": "--requests",
    "kv_capacity": "--capacity",
    "deadline_s": "--deadline-s",
    "max_num_seqs": "--max-num-seqs",
    "num_steps is": "--steps is",
    "num_chains is": "--chains is",
    "steps is": "--steps is",
    "tolerance is": "--tolerance is",
    "vary is": "--vary is",
    "target is": "--target is",
    "minibatch_size": "--minibatch",
    "patience is": "--patience is",
    "checkpoint_dir": "--checkpoint",
}


def _in_options(message: str, command: str) -> str:
    """Call arguments by the options of the command; one without an option keeps its name."""
    commands: Any = typer.main.get_command(app)
    parameters = commands.commands[command].params if command in commands.commands else []
    known = {option for parameter in parameters for option in parameter.opts}
    for name, option in _AS_OPTIONS.items():
        if option.partition(" ")[0] in known:
            message = re.sub(rf"(?<![\w-]){name}", option, message)
    return message


def _report(kind: str, message: str, code: int) -> int:
    print(f"jaxsched: {kind}: {' '.join(message.split())}", file=sys.stderr)
    return code


def _show_warning(command: str, message: Warning | str, *_: Any, **__: Any) -> None:
    _report("warning", _in_options(str(message), command), 0)
