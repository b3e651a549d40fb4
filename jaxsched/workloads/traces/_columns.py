"""Which columns of a file hold prompt, output and arrival."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxsched._lib.errors import InputError, choice, shown
from jaxsched._lib.names import did_you_mean, nearest
from jaxsched.workloads.traces._errors import Settled
from jaxsched.workloads.traces._formats import FORMATS, Format, known_formats, plain
from jaxsched.workloads.traces._times import UNITS

_LENGTHS = ("prompt", "output")
_KEYS = (*_LENGTHS, "arrival", "unit")
_MOST_COLUMNS, _MOST_GUESSED, _MOST_SHOWN = 2**17, 1000, 8

_TOTAL = "totalinputtokens"  # of a benchmark's results, with and without details

# Words by which people call the lengths, to guess what a column may hold.
_WORDS = {
    "prompt": ("prompt", "input", "context", "prefill", "isl"),
    "output": ("output", "generated", "completion", "response", "decode", "osl"),
}


class Columns(NamedTuple):
    """Which columns of a file hold what.

    Attributes:
      prompt: position of the prompt tokens.
      output: position of the output tokens.
      arrival: position of the times, None where the file gives none.
      unit: of the times, None where nothing says it.
      is_usual: whether the unit is that of the format, and was not given.
      absent: the column of times that the format has and the file does not, or nothing.
    """

    prompt: int
    output: int
    arrival: int | None
    unit: str | None
    is_usual: bool
    absent: str


def asked_columns(columns: Mapping[str, str] | str | None) -> dict[str, str]:
    """Read what ``columns`` says, a mapping or ``prompt=..,output=..,arrival=..,unit=..``."""
    if columns is None:
        return {}
    expectation = "expected prompt=NAME,output=NAME,arrival=NAME,unit=s, or some of them"
    if isinstance(columns, str):
        pairs = [part.partition("=") for part in columns.split(",")]
        asked = {key.strip(): name.strip() for key, _, name in pairs}
        if len(asked) < len(pairs):
            raise InputError("columns", columns, expectation)
    elif isinstance(columns, Mapping):
        asked = dict(columns)
    else:
        raise InputError("columns", columns, expectation)
    for key, name in asked.items():
        if key not in _KEYS or not isinstance(name, str) or not name:
            raise InputError("columns", columns, expectation)
    if "unit" in asked:
        choice("unit of columns", asked["unit"], tuple(UNITS))
    return asked


def resolved(names: Sequence[str], asked: Mapping[str, str]) -> Columns:
    """Find the columns that are asked for, and for the rest those of the format.

    Raises:
      InputError: there are none, or several that could be meant.
    """
    if len(names) > _MOST_COLUMNS:
        raise ValueError(f"has {len(names)} columns; expected at most {_MOST_COLUMNS}")
    words = names[0].split() if len(names) == 1 else []
    if len(words) > 1 and (known_formats(words) or set(asked.values()) & set(words)):
        raise ValueError("is separated by spaces; expected commas, semicolons, tabs or bars")
    form = None if all(key in asked for key in _LENGTHS) else _recognized(names, asked)

    def position(key: str) -> int | None:
        if key in asked:
            return _position(names, key, asked[key], is_asked=True)
        own = getattr(form, key, None)  # of the format, whose times may be absent
        if own is None or (key == "arrival" and plain(own) not in map(plain, names)):
            return None
        return _position(names, key, own, is_asked=False)

    prompt, output, arrival = map(position, ("prompt", "output", "arrival"))
    assert prompt is not None
    assert output is not None
    _require_apart({"prompt": prompt, "output": output, "arrival": arrival}, names)
    own_unit = form.unit if form and "arrival" not in asked else None
    return Columns(
        *(prompt, output, arrival, asked.get("unit", own_unit)),
        is_usual="unit" not in asked and own_unit is not None,
        absent=form.arrival if form and arrival is None else "",
    )


def _require_apart(positions: Mapping[str, int | None], names: Sequence[str]) -> None:
    """Raise if one column would be two things."""
    first: dict[int, str] = {}
    for key, position in positions.items():
        if position is None:
            continue
        if position in first:
            name = shown(names[position])
            finding = f"takes {name} both for {first[position]} and for {key}"
            raise InputError("columns", "", "expected a column for each", finding=finding)
        first[position] = key


def _recognized(names: Sequence[str], asked: Mapping[str, str]) -> Format:
    formats = known_formats(names)
    if len(formats) == 1:
        return formats[0]
    if formats:
        having = " and ".join(f"{each.name} ({each.prompt}, {each.output})" for each in formats)
        raise Settled(
            *("columns", "columns=", f"the columns are those of {having}; say which: "),
            "prompt=..,output=..,arrival=..,unit=s",
        )
    if not asked and _TOTAL in map(plain, names):
        raise ValueError(
            "holds totals of a benchmark, not the lengths of its requests; run it with "
            "--save-detailed (vLLM) or --output-details (SGLang)"
        )
    present = ", ".join(map(shown, names[:_MOST_SHOWN])) or "none"
    if len(names) > _MOST_SHOWN:
        present += f" and {len(names) - _MOST_SHOWN} more"
    guesses = ",".join(f"{key}={asked.get(key) or _guess(names, key)}" for key in _LENGTHS)
    known = ", ".join(each.name for each in FORMATS)
    raise Settled(
        "columns",
        "columns=",
        f"unknown trace format; columns present: {present}; say which hold what: ",
        f"{guesses},arrival=..,unit=s; known formats: {known}",
    )


def _guess(names: Sequence[str], key: str) -> str:
    """Guess a column by its name; dots where no name is like it."""
    known = [plain(getattr(each, key)) for each in FORMATS]
    for name in names[:_MOST_GUESSED]:
        is_worded = any(word in plain(name) for word in _WORDS[key])
        if is_worded or difflib.get_close_matches(plain(name), known, cutoff=0.8):
            return shown(name).strip("'")
    return ".."


def _position(names: Sequence[str], key: str, wanted: str, is_asked: bool) -> int:
    """Find the one column that is called ``wanted``."""
    exact = [position for position, name in enumerate(names) if name == wanted]
    alike = [position for position, name in enumerate(names) if plain(name) == plain(wanted)]
    matching = exact if is_asked and exact else alike
    if len(matching) == 1:
        return matching[0]
    if not matching:
        near = nearest(wanted, names[:_MOST_GUESSED])
        present = ", ".join(map(shown, names[:_MOST_SHOWN]))
        hint = did_you_mean(near) if near else f"columns present: {present}"
        raise InputError("columns", wanted, hint, finding=f"names {shown(wanted)}, which is absent")
    spelled = [shown(names[position]) for position in matching[:3]]
    places = [str(position + 1) for position in matching[:3]]
    if len(set(spelled)) == 1:
        raise ValueError(
            f"the column {spelled[0]} is there more than once, as columns {' and '.join(places)}; "
            "rename one"
        )
    raise Settled(
        "columns",
        "columns=",
        f"the columns {' and '.join(spelled)} could both be the {key}; say which: ",
        f"{key}=..",
    )
