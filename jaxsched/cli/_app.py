"""The commands, and what is said where one fails."""

from __future__ import annotations

import os
import shlex
import warnings
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from jaxsched.cli._bound import bound
from jaxsched.cli._calibrate import calibrate
from jaxsched.cli._capacity import capacity
from jaxsched.cli._catalogue import policies, servers, workloads
from jaxsched.cli._command import command
from jaxsched.cli._compare import compare
from jaxsched.cli._decision import report as decision_report
from jaxsched.cli._export import export
from jaxsched.cli._improve import improve
from jaxsched.cli._interrupts import INTERRUPTED, interrupts_not_lost
from jaxsched.cli._rate import rate
from jaxsched.cli._report import report, show_warning
from jaxsched.cli._serve import serve
from jaxsched.cli._simulate import simulate
from jaxsched.cli._sweep import sweep
from jaxsched.cli._trace import trace
from jaxsched.cli._tune import tune

_BAD_INPUT = 2
_SHOW_TRACEBACK = "JAXSCHED_TRACEBACK"


class _Command(TyperCommand):
    """A command whose help stands in its last panel, so that a screen holds all of them."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None and self.params:
            option.rich_help_panel = getattr(self.params[-1], "rich_help_panel", None)
        return option


app = typer.Typer(
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)
for _function in (
    compare,
    simulate,
    serve,
    rate,
    decision_report,
    bound,
    improve,
    capacity,
    sweep,
    tune,
    export,
):
    app.command(cls=_Command)(command(_function))
for _function in (calibrate, policies, workloads, servers, trace):
    app.command(cls=_Command)(command(_function))


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"jaxsched {version('jaxsched')}")
        raise typer.Exit


@app.callback()
def _options(
    is_version_asked: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            metavar="",
            help="Show the version.",
        ),
    ] = False,
) -> None:
    """Schedule LLM inference under a KV-cache budget."""


def run(arguments: list[str]) -> int:
    """Run a command; what goes wrong is one line on stderr. Gives the exit code."""
    try:
        with warnings.catch_warnings(), interrupts_not_lost():
            warnings.showwarning = show_warning
            code = app(
                args=arguments,
                prog_name="jaxsched",
                obj=shlex.join(["jaxsched", *arguments]),
                standalone_mode=False,
            )
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if _SHOW_TRACEBACK in os.environ:
            raise
        report("error", _sentence(error, arguments[0]))
        return _BAD_INPUT
    return code or 0


def _sentence(error: Exception, command_name: str) -> str:
    if isinstance(error, typer.TyperException):
        where = getattr(getattr(error, "ctx", None), "command_path", "jaxsched")
        others = _commands_with(getattr(error, "option_name", ""), command_name)
        return f"{error.format_message()}{others} See {where} --help."
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if isinstance(error, (ImportError, ValueError, TypeError)):
        return _about_option(error, command_name)
    return f"{type(error).__name__}: {error} (set {_SHOW_TRACEBACK}=1 to see where)"


def _commands_with(flag: str, command_name: str) -> str:
    """Say which other commands have an option that this one lacks; empty if none."""
    commands: Any = typer.main.get_command(app)
    having = {
        name: any(flag in each.opts for each in one.params)
        for name, one in commands.commands.items()
    }
    others = [f"jaxsched {name}" for name, has_it in having.items() if has_it]
    if not flag or not others or having.get(command_name, True):
        return ""
    *some, last = others
    listed = f"{', '.join(some)} and {last}" if some else last
    return f"; {listed} {'have' if some else 'has'} it."


def _about_option(error: Exception, command_name: str) -> str:
    """Say what is wrong with an argument of the library's about the option that gave it."""
    if not hasattr(error, "about"):  # as an InputError has; others come before the library loads
        return str(error)
    from jaxsched._lib.errors import InputError, UnknownName

    if not isinstance(error, InputError) or isinstance(error, UnknownName):
        return str(error)
    commands: Any = typer.main.get_command(app)
    flags = {each.name: each.opts[0] for each in commands.commands[command_name].params}
    return error.about(flags.get(error.argument, error.argument))
