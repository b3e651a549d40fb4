"""Things by name, and what is said of a name that nothing has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from jaxsched._lib.errors import InputError, UnknownName

T = TypeVar("T")
_PACKAGE = __name__.partition(".")[0]


class Registry(MutableMapping[str, T]):
    """Things of one kind by name, in the order they came.

    A mapping whose look-up says what it knows where a name is unknown. Aliases are found, but
    not listed.

    Args:
      kind: what is registered, as messages call it.
      entries: those to begin with.

    Example:
      >>> from jaxsched._lib.registry import Registry
      >>> bounds = Registry("bound", {"volume": sum, "price": max})
      >>> bounds["volum"]
      Traceback (most recent call last):
      jaxsched._lib.errors.UnknownName: no bound is called 'volum'; did you mean 'volume'?
    """

    def __init__(self, kind: str, entries: Mapping[str, T] | None = None):
        self.kind = kind
        self._entries: dict[str, T] = dict(entries or {})
        self._aliases: dict[str, str] = {}

    def add(self, name: str, entry: T, aliases: Sequence[str] = (), replace: bool = False) -> None:
        """Give ``entry`` a name, and others.

        Args:
          name: the name that is listed.
          entry: what it stands for.
          aliases: other names for it.
          replace: let it take the place of an earlier entry of this name.

        Raises:
          InputError: a name is taken.
        """
        if replace and name in self._entries:
            del self[name]
        for taken in (name, *aliases):
            if self._is_taken(taken):
                raise InputError(
                    self.kind,
                    taken,
                    "choose another name, or pass replace=True",
                    finding=f"{taken!r} is registered already",
                )
        self._entries[name] = entry
        self._aliases.update(dict.fromkeys(aliases, name))

    def require(self, name: str) -> None:
        """Raise if nothing has this name."""
        self[name]

    def name_of(self, name: str) -> str:
        """Say under which name what has this name or alias is listed, or raise."""
        self.require(name)
        return self._aliases.get(name, name)

    def copy(self) -> Registry[T]:
        """Make another with the same entries; what is added to one is not in the other."""
        other: Registry[T] = Registry(self.kind, self._entries)
        other._aliases = dict(self._aliases)
        return other

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise UnknownName(self.kind, name, tuple(self), tuple(self._aliases))
        return self._entries[self._aliases.get(name, name)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._entries or name in self._aliases)

    def __setitem__(self, name: str, entry: T) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]
        self._aliases = {alias: of for alias, of in self._aliases.items() if of != name}

    def _is_taken(self, name: str) -> bool:
        return name in self._entries or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self)})"


class PluginRegistry(Registry[T]):
    """A registry that distributions add to by entry points, each loaded when it is looked up.

    What code adds comes first, then what this package declares, then what others do; of equal
    names the first counts.

    Args:
      kind: what is registered, as messages call it.
      group: the group of entry points.
      own: ``module:attribute`` by name, the entry points that this package's ``pyproject.toml``
        declares. They are given again, and not read from the metadata of the installation, which
        may be absent, or older than the code where that is edited in place.
      load: makes an entry of a name and the object that an entry point refers to.
    """

    def __init__(
        self, kind: str, group: str, own: Mapping[str, str], load: Callable[[str, Any], T]
    ):
        super().__init__(kind)
        self._group, self._load = group, load
        self._plugins: dict[str, T] = {}
        self._own = {name: EntryPoint(name, value, group) for name, value in own.items()}

    @property
    def own(self) -> dict[str, str]:
        """The entry points of this package, ``module:attribute`` by name."""
        return {name: point.value for name, point in self._own.items()}

    def add(self, name: str, entry: T, aliases: Sequence[str] = (), replace: bool = False) -> None:
        """Do as a registry does; the names of this package's entry points are taken too."""
        if replace:
            self._own.pop(name, None)
        super().add(name, entry, aliases, replace)

    def copy(self) -> PluginRegistry[T]:
        """Make another with the same entries; what is added to one is not in the other."""
        other = PluginRegistry(self.kind, self._group, self.own, self._load)
        other._entries, other._aliases = dict(self._entries), dict(self._aliases)
        return other

    def __getitem__(self, name: str) -> T:
        if super().__contains__(name) or name not in self:
            return super().__getitem__(name)
        if name not in self._plugins:
            point = self._own[name] if name in self._own else self._others[name]
            self._plugins[name] = self._load(name, _loaded(self.kind, point))
        return self._plugins[name]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._own or name in self._others

    def _is_taken(self, name: str) -> bool:
        return super()._is_taken(name) or name in self._own

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._entries, *self._own, *self._others)))

    def __len__(self) -> int:
        return len(tuple(iter(self)))

    @functools.cached_property
    def _others(self) -> dict[str, EntryPoint]:
        """Entry points of other distributions, by name; of equal names the first on the path.

        To read the metadata of all distributions takes a while.
        """
        points = reversed(tuple(entry_points(group=self._group)))
        return {point.name: point for point in points if _maker(point) != _PACKAGE}


def _maker(point: EntryPoint) -> str | None:
    return None if point.dist is None else point.dist.name


def _loaded(kind: str, point: EntryPoint) -> Any:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        maker = f" of {_maker(point)}" if _maker(point) else ""
        raise ImportError(
            f"{kind} {point.name!r}{maker} cannot be loaded from {point.value}: {error}"
        ) from error
