"""Dotted keys of a Config: change some, list all, compare two, and read them off the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from repro.config.config import Config, from_dict, to_dict
from repro.suggest import did_you_mean, shortened

DEEPEST = 16  # levels of a `--set` value; a layer with its pooling has 4


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """`config` with some dotted keys changed; the whole is validated again.

    Values are plain (numbers, strings, lists, mappings, None). None removes an optional part or a layer; a mapping
    given for a part that is None makes it, with that part's defaults; `model.layers.conv6` may be new.
    Raises ValueError in one line that names the key, with a suggestion when it is misspelled.
    """
    values = to_dict(config)
    for key, value in changes.items():
        _set(values, key, value)
    return from_dict(values)


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    node: Any = values
    for depth, part in enumerate(path):
        if not isinstance(node, dict) or part not in node:
            raise ValueError(_unknown(key, part, node))
        if node[part] is None:
            whole = ".".join(path[: depth + 1])
            raise ValueError(f"{shortened(key)}: {whole} is null here; give {whole} a mapping first")
        node = node[part]
    new_layer = path == ["model", "layers"] and isinstance(value, Mapping)
    if not isinstance(node, dict) or (last not in node and not new_layer):
        raise ValueError(_unknown(key, last, node))
    if isinstance(value, Mapping) and isinstance(node.get(last), dict):
        for name, part in value.items():
            if key == "model.layers" and part is None and name not in node[last]:
                raise ValueError(_unknown(f"{key}.{name}", name, node[last]))
        value = {**node[last], **value}
    node[last] = _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return json.loads(value.model_dump_json())
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (tuple, list)) else value


def _unknown(key: str, part: str, node: Any) -> str:
    known = list(node) if isinstance(node, dict) else []
    return f"unknown key {shortened(key)!r}: there is no {shortened(part)!r} in it{did_you_mean(part, known)}"


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """`["optim.batch_size=64", "model.norm=null"]` as changes. Values are JSON; anything else is a string.

    Raises ValueError when an item has no `=` or a key comes twice.
    """
    changes: dict[str, Any] = {}
    for item in assignments:
        key, sign, text = item.partition("=")
        if not sign or not key:
            raise ValueError(f"--set {shortened(item)!r}: write key=value, for example --set optim.batch_size=64")
        if key in changes:
            raise ValueError(f"--set {shortened(key)}: given twice")
        changes[key] = _value(key, text)
    return changes


def _value(key: str, text: str) -> Any:
    try:
        value = json.loads(text)
        deep = _depth(value) > DEEPEST
    except RecursionError:
        deep = True
    except ValueError:  # no JSON, or a number of more digits than Python reads
        return text
    if deep:
        raise ValueError(f"--set {shortened(key)}: lists and mappings more than {DEEPEST} deep; no key takes them")
    return value


def _depth(value: Any) -> int:
    """Levels of lists and mappings in a JSON value."""
    level, depth = [value], 0
    while level := [each for each in level if isinstance(each, (list, dict))]:
        level = [part for each in level for part in (each.values() if isinstance(each, dict) else each)]
        depth += 1
    return depth


def flatten(config: Config) -> dict[str, Any]:
    """Dotted key -> value, for every value of the Config."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, part in value.items():
                walk(f"{prefix}.{name}" if prefix else name, part)
        else:
            flat[prefix] = value

    walk("", to_dict(config))
    return flat


def diff(a: Config, b: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with both. A part or layer that one side lacks is one entry, None there."""
    changed: dict[str, tuple[Any, Any]] = {}

    def walk(prefix: str, one: Any, two: Any) -> None:
        if isinstance(one, dict) and isinstance(two, dict):
            for name in [*one, *(name for name in two if name not in one)]:
                walk(f"{prefix}.{name}" if prefix else name, one.get(name), two.get(name))
        elif one != two:
            changed[prefix] = (one, two)

    walk("", to_dict(a), to_dict(b))
    return changed
