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

from jaxsched._lib.errors import UnknownName
from jaxsched._lib.npz import FLOATS, TEXTS, open_arrays, save_arrays
from jaxsched._lib.registry import Registry
from jaxsched.policies._constants import FACTORIES, constants_of, rule_of
from jaxsched.policies._rule import rule_name
from jaxsched.policies.features import require_known
from jaxsched.policies.scores.linear_score import LinearScore
from jaxsched.policies.scores.mlp_score import MLPScore

_TYPES: Registry[Any] = Registry(
    "kind of rule", {"linear_score": LinearScore, "mlp_score": MLPScore}
)
_KIND = "Rule"


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
      ValueError: a file name of another ending.

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
    about = {} if tuned_on is None else {"tuned_on": dict(tuned_on)}
    _write_json(path, {"rule": name, "parameters": dict(options), **about})


def _write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    Path(path).write_text(json.dumps(content, indent=2) + "\n")


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
    content = _json_content(path) if _is_json(path) else _npz_content(path)
    return dict(content.get("tuned_on", {}))


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
    content = _json_content(path) if _is_json(path) else _npz_content(path)
    try:
        name, parameters = content["rule"], dict(content["parameters"])
        features = None if name in FACTORIES else content["features"]
    except (KeyError, TypeError, ValueError) as error:
        raise _not_a_rule(path, error) from error
    if features is None:
        return rule_of(path, name, parameters)
    kind = _kind(path, name)
    leaves = {}
    for leaf in _leaves(kind):
        if leaf not in parameters:
            raise ValueError(f"{path}: {name} lacks the parameter {leaf!r}")
        leaves[leaf] = jnp.asarray(np.asarray(parameters[leaf], np.float32))
    names = require_known(features)
    rule = kind(**leaves, features=names)
    _require_shapes(path, name, rule)
    return rule


def _kind(path: str | os.PathLike[str], name: str) -> Any:
    try:
        return _TYPES[name]
    except UnknownName as error:
        raise ValueError(f"{path}: {error}") from None


def _npz_content(path: str | os.PathLike[str]) -> dict[str, Any]:
    with open_arrays(path, _KIND) as file:
        name = str(file.read("rule", TEXTS))
        leaves = _leaves(_kind(path, name))
        file.require_only(("rule", "features", "tuned_on", *leaves))
        content: dict[str, Any] = {
            "rule": name,
            "features": file.read("features", TEXTS).tolist(),
            "parameters": {leaf: file.read(leaf, FLOATS) for leaf in leaves},
        }
        if "tuned_on" in file.names:
            content["tuned_on"] = json.loads(str(file.read("tuned_on", TEXTS)))
    return content


def _json_content(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        return dict(json.loads(Path(path).read_text()))
    except (TypeError, ValueError) as error:
        raise _not_a_rule(path, error) from error


def _not_a_rule(path: str | os.PathLike[str], error: Exception) -> ValueError:
    return ValueError(f"{path}: not a rule written by jaxsched ({error})")


def _require_shapes(path: Any, name: str, rule: Any) -> None:
    width = rule.weights.shape
    expected = {"weights": (len(rule.features),)}
    if name == "mlp_score":
        expected = {
            "weights": (rule.weights.size,),
            "hidden_weights": (len(rule.features), *width),
            "hidden_bias": width,
        }
    for leaf, shape in expected.items():
        parameter = getattr(rule, leaf)
        if parameter.shape != shape or not np.isfinite(parameter).all():
            raise ValueError(
                f"{path}: {leaf} has shape {parameter.shape}; expected finite numbers {shape} with "
                f"features {', '.join(rule.features)}"
            )


def _leaves(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.name != "features"]


def _is_json(path: str | os.PathLike[str]) -> bool:
    suffix = Path(path).suffix
    if suffix not in (".json", ".npz"):
        raise ValueError(f"{path}: a rule is kept in a file that ends in .json or .npz")
    return suffix == ".json"
