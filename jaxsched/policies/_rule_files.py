"""Rules with parameters as files: JSON to read, npz to keep small."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsched._lib import npz
from jaxsched._lib.documents import FLOATS, PLAIN, TEXT, Fields, Rows, parse_json, read_json
from jaxsched._lib.errors import InputError, bounded, in_file, wrong_shape
from jaxsched._lib.npz import open_arrays, save_arrays
from jaxsched._lib.registry import Registry
from jaxsched._lib.writing import write_whole
from jaxsched.policies._constants import CONSTANT, FACTORIES, constants_of, rule_of
from jaxsched.policies._rule import rule_name
from jaxsched.policies.features import require_known
from jaxsched.policies.scores.linear_score import LinearScore
from jaxsched.policies.scores.mlp_score import MLPScore

_TYPES: Registry[Any] = Registry(
    "kind of rule", {"linear_score": LinearScore, "mlp_score": MLPScore}
)
_KIND = "Rule"
_TUNED_ON = Fields(others=PLAIN)
_SCHEMA = Fields(
    {"rule": TEXT, "features": Rows(TEXT), "parameters": Fields(others=FLOATS)},
    optional={"tuned_on": _TUNED_ON},
)
_SCHEMA_OF_CONSTANTS = Fields(
    {"rule": TEXT, "parameters": Fields(others=CONSTANT)}, optional={"tuned_on": _TUNED_ON}
)


class _OfEitherKind:
    """A rule of features or a rule of constants, as its name says."""

    def check(self, value: Any, field: str) -> None:
        """Raise unless it is one of the two."""
        name = value.get("rule") if isinstance(value, dict) else None
        is_of_constants = isinstance(name, str) and name in FACTORIES
        (_SCHEMA_OF_CONSTANTS if is_of_constants else _SCHEMA).check(value, field)


def save(
    rule: Any, path: str | os.PathLike[str], *, tuned_on: Mapping[str, Any] | None = None
) -> None:
    """Write a rule with parameters to a file; :func:`load` reads it back.

    Args:
      rule: a ``linear_score``, an ``mlp_score``, or a ready-made rule for servers with constants,
        such as ``aged_prompt`` or ``gamma_boost``; the latter go into JSON alone.
      path: ends in ``.json`` or ``.npz``.
      tuned_on: plain values that say what it was tuned on, which :func:`tuned_on` reads back.

    Raises:
      TypeError: a rule of another type.
      ValueError: a file name of another ending, or constants that are out of range.

    Example:
      >>> import pathlib, tempfile
      >>> import jaxsched as js
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "rule.json"
      >>> js.policies.save(js.policies.linear_score(["log_output"], [0.1]), path)
      >>> js.policies.make(f"file:{path}").features
      ('log_output',)
    """
    named = [name for name, kind in _TYPES.items() if type(rule) is kind]
    if not named and (constants := constants_of(rule)) is not None:
        _save_constants(path, *constants, tuned_on)
        return
    if not named:
        raise TypeError(
            f"rule {rule_name(rule)!r} cannot be saved; only {', '.join((*_TYPES, *FACTORIES))} can"
        )
    arrays = {name: np.asarray(getattr(rule, name), np.float32) for name in _leaves(type(rule))}
    if _is_json(path):
        parameters = {name: array.tolist() for name, array in arrays.items()}
        content = {"rule": named[0], "features": list(rule.features), "parameters": parameters}
        if tuned_on is not None:
            content["tuned_on"] = dict(tuned_on)
        _write_json(path, content)
        return
    arrays |= {"rule": np.array(named[0]), "features": np.array(rule.features)}
    if tuned_on is not None:
        arrays["tuned_on"] = np.array(json.dumps(dict(tuned_on)))
    save_arrays(path, _KIND, arrays)


def _save_constants(
    path: str | os.PathLike[str],
    name: str,
    options: Mapping[str, Any],
    tuned_on: Mapping[str, Any] | None,
) -> None:
    if not _is_json(path):
        raise ValueError(f"{path}: the constants of {name} are kept in a file that ends in .json")
    rule_of(name, options)  # or raise for constants that could not be read back
    about = {} if tuned_on is None else {"tuned_on": dict(tuned_on)}
    _write_json(path, {"rule": name, "parameters": dict(options), **about})


def _write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2) + "\n"
    write_whole(Path(path), lambda partial: partial.write_text(text, encoding="utf-8"))


def tuned_on(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what a saved rule was tuned on.

    Args:
      path: ends in ``.json`` or ``.npz``.

    Returns:
      What :func:`save` was given; of a rule from ``jaxsched tune`` the source of the lengths,
      ``num_requests``, ``num_instances``, ``kv_capacity``, ``server`` and ``objective``. Empty if
      the file does not say.

    Raises:
      ValueError: the file does not hold a rule.

    Example:
      >>> import pathlib, tempfile
      >>> import jaxsched as js
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "rule.json"
      >>> rule = js.policies.linear_score(["log_output"], [0.1])
      >>> js.policies.save(rule, path, tuned_on={"num_requests": 1000})
      >>> js.policies.tuned_on(path)
      {'num_requests': 1000}
    """
    return dict(_content(path).get("tuned_on", {}))


def load(path: str | os.PathLike[str]) -> Any:
    """Read what :func:`save` wrote; its priorities are those of the rule saved, to the bit.

    Args:
      path: ends in ``.json`` or ``.npz``.

    Returns:
      The rule, of the type that was saved.

    Raises:
      ValueError: the file does not hold a rule.

    Example:
      >>> import pathlib, tempfile
      >>> import jaxsched as js
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "rule.npz"
      >>> js.policies.save(js.policies.linear_score(["log_output"], [0.1]), path)
      >>> js.policies.load(path).features
      ('log_output',)
    """
    content = _content(path)
    with in_file(path):
        given = content["parameters"]
        if (name := content["rule"]) in FACTORIES:
            return rule_of(name, given)
        kind = _TYPES[name]
        Fields(dict.fromkeys(_leaves(kind), FLOATS)).check(given, "parameters")
        leaves = {leaf: jnp.asarray(_array(leaf, given[leaf])) for leaf in _leaves(kind)}
        rule = kind(**leaves, features=require_known(content["features"]))
        _require_shapes(name, rule)
    return rule


def _content(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what a file holds, each field of the type that it has to be."""
    if _is_json(path):
        return read_json(path, _OfEitherKind())
    with open_arrays(path, _KIND) as file:
        name = str(file.read("rule", npz.TEXTS))
        with in_file(path):
            leaves = _leaves(_TYPES[name])
        file.require_only(("rule", "features", "tuned_on", *leaves))
        content: dict[str, Any] = {
            "rule": name,
            "features": file.read("features", npz.TEXTS).tolist(),
            "parameters": {leaf: file.read(leaf, npz.FLOATS).tolist() for leaf in leaves},
        }
        if "tuned_on" in file.names:
            text = str(file.read("tuned_on", npz.TEXTS))
            with in_file(path):
                content["tuned_on"] = parse_json(text, "tuned_on")
    with in_file(path):
        _SCHEMA.check(content, "")
    return content


def _array(leaf: str, numbers: Any) -> np.ndarray:
    try:
        return np.asarray(numbers, np.float32)
    except ValueError:
        raise InputError(leaf, numbers, "expected rows of one length") from None


def _require_shapes(name: str, rule: Any) -> None:
    width = rule.weights.shape
    expected = {"weights": (len(rule.features),)}
    if name == "mlp_score":
        expected = {
            "weights": (rule.weights.size,),
            "hidden_weights": (len(rule.features), *width),
            "hidden_bias": width,
        }
    for leaf, shape in expected.items():
        found = getattr(rule, leaf).shape
        if found != shape:
            names = bounded(", ".join(rule.features))
            raise wrong_shape(leaf, found, f"expected {shape} with features {names}")


def _leaves(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.name != "features"]


def _is_json(path: str | os.PathLike[str]) -> bool:
    suffix = Path(path).suffix
    if suffix not in (".json", ".npz"):
        raise ValueError(f"{path}: a rule is kept in a file that ends in .json or .npz")
    return suffix == ".json"
