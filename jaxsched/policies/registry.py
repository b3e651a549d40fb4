"""Rules by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxsched._lib.registry import PluginRegistry
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


def register(
    name: str,
    rule: Rule | None = None,
    *,
    factory: Callable[..., Rule] | None = None,
    aliases: Sequence[str] = (),
    replace: bool = False,
) -> None:
    """Give a rule a name, for :func:`make`, :func:`prioritize`, ``compare`` and the command line.

    A distribution gives names to its rules without being imported: it declares an entry point of
    the group ``jaxsched.rules`` for each, which refers to a factory.

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
      >>> js.prioritize(inst, "longest_output").tolist()
      [-2, -4]
    """
    if (rule is None) == (factory is None):
        raise TypeError(f"rule {name!r}: give either a rule or a factory of rules")
    documented = rule if factory is None else factory
    if not callable(documented):
        raise TypeError(f"rule {name!r}: {documented!r} cannot be called")
    entry = _of_rule(name, documented) if factory is None else _of_factory(name, factory)
    info = entry.info._replace(aliases=tuple(aliases))
    _RULES.add(name, entry._replace(info=info), aliases, replace)


def _of_rule(name: str, rule: Rule) -> _Entry:
    return _Entry(_described(name, rule), lambda: rule, required=(), takes_more=False)


def _of_factory(name: str, factory: Callable[..., Rule]) -> _Entry:
    parameters = inspect.signature(factory).parameters.values()
    named = [each for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD]
    return _Entry(
        info=_described(name, factory)._replace(options=tuple(each.name for each in named)),
        factory=factory,
        required=tuple(each.name for each in named if each.default is inspect.Parameter.empty),
        takes_more=len(named) < len(parameters),
    )


def _described(name: str, documented: object) -> PolicyInfo:
    description = inspect.getdoc(documented) or ""
    return PolicyInfo(
        name=name,
        aliases=(),
        options=(),
        summary=description.partition("\n")[0],
        source=", ".join(re.findall(r"arXiv:\d+\.\d+", description)),
    )


# A rule that needs the simulator's searches cannot be imported here: policies lie below them.
_RULES = PluginRegistry(
    "rule",
    group="jaxsched.rules",
    own={"improve": "jaxsched.search.improve_rule:improved"},
    load=_of_factory,
)


def names() -> tuple[str, ...]:
    """Names of all rules: those registered, in their order, then entry points; no aliases.

    Returns:
      The names that :func:`make` and everything that takes a rule know.

    Example:
      >>> import jaxsched as js
      >>> js.policies.names()[:2]
      ('fcfs', 'shortest_output')
    """
    return tuple(_RULES)


def info(name: str) -> PolicyInfo:
    """Return what the registry knows of the policy with this name or alias.

    Args:
      name: see :func:`names`.

    Returns:
      The :class:`PolicyInfo`.

    Raises:
      ValueError: no rule has this name; the message offers the nearest ones.

    Example:
      >>> import jaxsched as js
      >>> js.policies.info("svf").name
      'smallest_volume'
    """
    return _RULES[name].info


def make(name: str, **options: object) -> Rule:
    """Build the policy with this name or alias, or read a saved one.

    Args:
      name: see :func:`names`; ``"file:rule.json"`` reads what :func:`save` wrote.
      **options: as the policy takes them; see :func:`info`.

    Returns:
      The rule.

    Raises:
      ValueError: no rule has this name; the message offers the nearest ones.
      TypeError: the policy does not take such an option, or needs one that is missing.

    Example:
      >>> import jaxsched as js
      >>> rule = js.policies.make("smallest_volume")
      >>> rule(js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)).tolist()
      [9, 14]
    """
    if name.startswith(_FILE) and not options:
        return load(name.removeprefix(_FILE))
    entry = _RULES[name]
    accepted = entry.info.options
    unknown = [option for option in options if option not in accepted]
    if unknown and not entry.takes_more:
        known = f"its options are {', '.join(accepted)}" if accepted else "it takes none"
        raise TypeError(f"rule {name!r} has no option {unknown[0]!r}; {known}")
    if missing := [option for option in entry.required if option not in options]:
        raise TypeError(f"rule {name!r} needs the option {missing[0]!r}")
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
