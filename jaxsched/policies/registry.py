"""Policies by name."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxsched._lib.names import hint
from jaxsched.policies._rule import Rule
from jaxsched.policies._rule_files import load


class PolicyInfo(NamedTuple):
    """What the registry knows of a policy.

    Attributes:
      name: the name that :func:`make` takes.
      aliases: other names for it.
      options: keyword options of :func:`make`; none for a plain rule.
      summary: the first line of its docstring.
      source: the arXiv papers that its docstring names, with commas between.
    """

    name: str
    aliases: tuple[str, ...]
    options: tuple[str, ...]
    summary: str
    source: str


class _Entry(NamedTuple):
    info: PolicyInfo
    factory: Callable[..., Rule]
    required: tuple[str, ...]
    takes_more: bool  # options that its signature does not name


_FILE = "file:"
_ENTRIES: dict[str, _Entry] = {}
_ALIASES: dict[str, str] = {}

# A rule that needs the simulator lives above this room, and loads when rules are asked for.
_ABOVE = {"improve": ("jaxsched.search.improve_rule", "improved")}


def register(
    name: str,
    rule: Rule | None = None,
    *,
    factory: Callable[..., Rule] | None = None,
    aliases: Sequence[str] = (),
    replace: bool = False,
) -> None:
    """Give a rule a name, for :func:`make`, :func:`prioritize`, ``compare`` and the command line.

    Args:
      name: the name.
      rule: the rule itself; or
      factory: a function of keyword options that returns the rule.
      aliases: other names for it.
      replace: let it take the place of an earlier policy of this name.

    Raises:
      ValueError: a name is taken.
      TypeError: not exactly one of ``rule`` and ``factory`` is given, or it cannot be called.

    Example:
      >>> import jaxsched as js
      >>> js.policies.register("longest_output", lambda inst: -inst.output_tokens, replace=True)
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> js.prioritize("longest_output", inst).tolist()
      [-2, -4]
    """
    if (rule is None) == (factory is None):
        raise TypeError(f"policy {name!r}: give either a rule or a factory of rules")
    documented = rule if factory is None else factory
    if not callable(documented):
        raise TypeError(f"policy {name!r}: {documented!r} cannot be called")
    if replace:
        _forget(name)
    for taken in (name, *aliases):
        if taken in _ENTRIES or taken in _ALIASES:
            raise ValueError(
                f"policy {taken!r} is registered already; choose another name, or pass replace=True"
            )
    description = inspect.getdoc(documented) or ""
    parameters = () if factory is None else tuple(inspect.signature(factory).parameters.values())
    takes_more = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    parameters = tuple(p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD)
    info = PolicyInfo(
        name=name,
        aliases=tuple(aliases),
        options=tuple(parameter.name for parameter in parameters),
        summary=description.partition("\n")[0],
        source=", ".join(re.findall(r"arXiv:\d+\.\d+", description)),
    )
    required = tuple(p.name for p in parameters if p.default is inspect.Parameter.empty)
    _ENTRIES[name] = _Entry(info, factory or (lambda: documented), required, takes_more)
    _ALIASES.update(dict.fromkeys(aliases, name))


def names() -> tuple[str, ...]:
    """Names of all registered policies, in order of registration; aliases are left out.

    Returns:
      The names that :func:`make` and everything that takes a rule know.

    Example:
      >>> import jaxsched as js
      >>> js.policies.names()[:2]
      ('fcfs', 'shortest_output')
    """
    _register_those_above()
    return tuple(_ENTRIES)


def info(name: str) -> PolicyInfo:
    """Return what the registry knows of the policy with this name or alias.

    Args:
      name: see :func:`names`.

    Returns:
      The :class:`PolicyInfo`.

    Raises:
      ValueError: no policy has this name; the message offers the nearest ones.

    Example:
      >>> import jaxsched as js
      >>> js.policies.info("svf").name
      'smallest_volume'
    """
    return _find(name).info


def make(name: str, **options: object) -> Rule:
    """Build the policy with this name or alias, or read a saved one.

    Args:
      name: see :func:`names`; ``"file:rule.json"`` reads what :func:`save` wrote.
      **options: as the policy takes them; see :func:`info`.

    Returns:
      The rule.

    Raises:
      ValueError: no policy has this name; the message offers the nearest ones.
      TypeError: the policy does not take such an option, or needs one that is missing.

    Example:
      >>> import jaxsched as js
      >>> rule = js.policies.make("smallest_volume")
      >>> rule(js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)).tolist()
      [9, 14]
    """
    if name.startswith(_FILE) and not options:
        return load(name.removeprefix(_FILE))
    entry = _find(name)
    accepted = entry.info.options
    unknown = [option for option in options if option not in accepted]
    if unknown and not entry.takes_more:
        known = f"its options are {', '.join(accepted)}" if accepted else "it takes none"
        raise TypeError(f"policy {name!r} has no option {unknown[0]!r}; {known}")
    if missing := [option for option in entry.required if option not in options]:
        raise TypeError(f"policy {name!r} needs the option {missing[0]!r}")
    return entry.factory(**options)


def resolve(rule: Rule | str) -> Rule:
    """Return the rule itself, or the registered one if given its name."""
    if isinstance(rule, str):
        return make(rule)
    if isinstance(rule, type):
        raise TypeError(f"{rule.__name__} is a class; a rule is an instance of it")
    if not callable(rule):
        raise TypeError(
            f"a rule is a callable or the name of one, not {type(rule).__name__}: {rule!r}"
        )
    return rule


def _register_those_above() -> None:
    for name, (module, factory) in _ABOVE.items():
        if name not in _ENTRIES:
            register(name, factory=getattr(importlib.import_module(module), factory))


def _find(name: str) -> _Entry:
    _register_those_above()
    entry = _ENTRIES.get(_ALIASES.get(name, name))
    if entry is None:
        raise ValueError(f"no policy is called {name!r}; {hint(name, _ENTRIES, _ALIASES)}")
    return entry


def _forget(name: str) -> None:
    entry = _ENTRIES.pop(name, None)
    for alias in entry.info.aliases if entry else ():
        del _ALIASES[alias]
