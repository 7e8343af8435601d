"""Changes of an arm that depend on the preset they are made to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repro.config.config import Config


class PerPreset(Mapping[str, Mapping[str, Any]]):
    """`Arm.at` computed from the presets' own values: `changes(name, config)` at each preset that is named.

    It is computed when a preset is looked up and not when the declaration is loaded: `repro list` looks none up, and
    so makes no Config, which would take it as long as all the rest.
    """

    def __init__(self, presets: Iterable[str], changes: Callable[[str, Config], Mapping[str, Any]]) -> None:
        self._presets, self._changes = tuple(presets), changes

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        from repro.config.presets import preset

        if name not in self._presets:
            raise KeyError(name)
        return self._changes(name, preset(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._presets)

    def __len__(self) -> int:
        return len(self._presets)
