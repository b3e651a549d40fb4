"""Settings of a server to try, as a command line gives them."""

from __future__ import annotations

from typing import Any

_WORDS: dict[str, Any] = {"true": True, "false": False}


def varied(given: list[str]) -> dict[str, list[Any]]:
    """Read ``max_num_seqs=64,128`` and the like."""
    settings: dict[str, list[Any]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not values.strip():
            raise ValueError(f"--vary is {text!r}; expected NAME=A,B such as max_num_seqs=64,128")
        if name in settings:
            raise ValueError(f"--vary names {name} twice; give all its values in one")
        settings[name] = [_value(value.strip()) for value in values.split(",")]
    return settings


def _value(text: str) -> Any:
    """Read a number, true or false, or else a word."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return _WORDS.get(text.lower(), text)
