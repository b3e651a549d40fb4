r"""Numbers that describe a request to a rule with parameters, by name.

With prompt :math:`s`, output :math:`o`, volume :math:`v` and KV capacity :math:`M`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxsched._lib.errors import InputError, UnknownName, shown
from jaxsched._lib.registry import Registry
from jaxsched.model.instance import Instance, weight_of
from jaxsched.policies.online.arrivals import arrival_s


def _prompt(inst: Instance) -> jax.Array:
    return inst.prompt_tokens.astype(jnp.float32)


def _output(inst: Instance) -> jax.Array:
    return inst.output_tokens.astype(jnp.float32)


def _share(inst: Instance, tokens: jax.Array) -> jax.Array:
    return tokens / inst.kv_capacity.astype(jnp.float32)


def _row_share(inst: Instance) -> jax.Array:
    rows = jnp.arange(inst.prompt_tokens.shape[-1], dtype=jnp.float32)
    return rows / inst.num_requests.astype(jnp.float32)


_FEATURES: Registry[Callable[[Instance], jax.Array]] = Registry(
    "feature",
    {
        "log_prompt": lambda inst: jnp.log(_prompt(inst)),
        "log_output": lambda inst: jnp.log(_output(inst)),
        "log_total": lambda inst: jnp.log(_prompt(inst) + _output(inst)),
        "log_volume": lambda inst: jnp.log(inst.volume),
        "prompt_share": lambda inst: _share(inst, _prompt(inst)),
        "output_share": lambda inst: _share(inst, _output(inst)),
        "row_share": _row_share,
        "log_weight": lambda inst: jnp.log(weight_of(inst)),
        "arrival_s": arrival_s,
    },
)

#: The features that :func:`features` knows; ``*`` between names makes their product.
NAMES = tuple(_FEATURES)


def features(names: Sequence[str], inst: Instance) -> jax.Array:
    r"""Describe the requests of one instance.

    ``log_prompt`` :math:`\ln s`, ``log_output`` :math:`\ln o`, ``log_total`` :math:`\ln(s + o)`,
    ``log_volume`` :math:`\ln v`, ``prompt_share`` :math:`s / M`, ``output_share`` :math:`o / M`,
    ``row_share`` the row number over :math:`n`, ``log_weight`` :math:`\ln w` (0 without weights),
    ``arrival_s`` the seconds of arrival since the stream's first (0 in a backlog), and products
    such as ``log_prompt*log_output``.

    Args:
      names: F names.
      inst: one instance ``[n]``.

    Returns:
      float32 ``[n, F]``.

    Raises:
      ValueError: a name is unknown.

    Example:
      >>> import jaxsched as js
      >>> from jaxsched.policies.features import features
      >>> inst = js.Instance.from_lengths([1, 1], [2, 4], kv_capacity=8)
      >>> features(["output_share", "output_share*output_share"], inst).tolist()
      [[0.25, 0.0625], [0.5, 0.25]]
    """
    return jnp.stack([feature(name, inst) for name in names], axis=-1)


def require_known(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names as a tuple, or raise for the first that is unknown or comes twice.

    Args:
      names: names of features, or products such as ``log_prompt*log_output``.

    Returns:
      The names.

    Raises:
      TypeError: ``names`` is one string.
      ValueError: there are none, one is unknown (the nearest are offered) or comes twice.

    Example:
      >>> from jaxsched.policies.features import require_known
      >>> require_known(["log_volum"])
      Traceback (most recent call last):
      jaxsched._lib.errors.InputError: features[0] is 'log_volum': no feature is called ...
    """
    if isinstance(names, str):
        raise TypeError(f"features is the string {shown(names)}; expected a sequence of names")
    names = tuple(names)
    if not names:
        expectation = f"expected one or more of {', '.join(NAMES)}"
        raise InputError("features", names, expectation, finding="is empty")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InputError("features", name, "", finding=f"names {shown(name)} twice")
        for factor in name.split("*"):
            try:
                _FEATURES[factor]
            except UnknownName as error:
                finding = f"is {shown(name)}: {error}"
                raise InputError("features", name, "", (place,), finding) from None
    return names


def feature(name: str, inst: Instance) -> jax.Array:
    """Describe the requests of one instance by one feature.

    Args:
      name: one of the names, or a product of them.
      inst: one instance ``[n]``.

    Returns:
      float32 ``[n]``.

    Raises:
      ValueError: a name is unknown.

    Example:
      >>> import jaxsched as js
      >>> from jaxsched.policies.features import feature
      >>> inst = js.Instance.from_lengths([1, 1], [2, 4], kv_capacity=8)
      >>> feature("output_share", inst).tolist()
      [0.25, 0.5]
    """
    return functools.reduce(operator.mul, [_FEATURES[factor](inst) for factor in name.split("*")])
