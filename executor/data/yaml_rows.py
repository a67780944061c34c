"""YAML as rows: a list, several documents, one mapping, or a mapping with the list under a key (PyYAML, safe)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from executor.data.json_rows import ROW_KEYS
from executor.data.problem import Problem, error
from executor.data.source import EmptyFileError, Record, Source

_MOST_NODES = 20_000_000
"""values after aliases are followed; a small file that means more is built to exhaust memory"""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Text stays text: a label `no` is not False, a date is what was written."""


_PLAIN = {"tag:yaml.org,2002:null", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:merge"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), ["t", "f"])


def open_yaml(path: Path, text: str) -> Source:
    """The rows of decoded YAML; the line of a record is the line on which it starts.

    What is no YAML is a problem of the row at which the reading stopped. Raises EmptyFileError without rows.
    """
    records = list(_records(text))
    if not records:
        raise EmptyFileError(f"{path.name} holds no rows", str(path), "Give a file with at least one row.")
    columns = list(dict.fromkeys(str(key) for record in records for key in record.row or {}))
    return Source(path, "yaml", None, None, None, columns, [], lambda: iter(records))


def _records(text: str) -> Iterator[Record]:
    loader = _Loader(text)
    try:
        roots = []
        while loader.check_node():
            roots.append(loader.get_node())
        sizes: dict[int, int] = {}
        if sum(_size(root, sizes, ()) for root in roots) > _MOST_NODES:
            message = "aliases make a value of unreasonable size"
            yield Record(1, {}, error("bad_yaml", message, "Write the values out.", 1))
            return
        for node in _row_nodes(roots):
            yield _record(loader, node)
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        yield Record(1, {}, _bad_yaml(problem))
    finally:
        loader.dispose()


def _size(node: Any, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Values below a node with every alias followed; an alias to what it stands in counts as too many."""
    if id(node) in above:
        return _MOST_NODES + 1
    if id(node) not in known:
        children = []
        if isinstance(node, yaml.SequenceNode):
            children = list(node.value)
        elif isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        known[id(node)] = 1 + sum(_size(child, known, (*above, id(node))) for child in children)
    return known[id(node)]


def _row_nodes(roots: list[Any]) -> Iterator[Any]:
    for root in roots:
        if isinstance(root, yaml.SequenceNode):
            turns = [isinstance(node, yaml.MappingNode) and _keys(node) >= {"role", "content"} for node in root.value]
            if turns and all(turns):
                yield root
            else:
                yield from root.value
        elif isinstance(root, yaml.MappingNode) and (inner := _wrapped(root)) is not None:
            yield from inner.value
        elif not (isinstance(root, yaml.ScalarNode) and root.value in ("", "~", "null")):
            yield root


def _keys(node: Any) -> set[str]:
    return {key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)}


def _wrapped(node: Any) -> Any:
    """The one list of mappings under a key, unless the keys say that the mapping is itself a row."""
    if ROW_KEYS & {key.casefold() for key in _keys(node)}:
        return None
    lists = [
        value
        for _, value in node.value
        if isinstance(value, yaml.SequenceNode) and any(not isinstance(item, yaml.ScalarNode) for item in value.value)
    ]
    return lists[0] if len(lists) == 1 else None


def _record(loader: Any, node: Any) -> Record:
    line = node.start_mark.line + 1
    try:
        value = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as problem:
        return Record(line, {}, _bad_yaml(problem, line))
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        # a conversation written as a bare list of turns
        return Record(line, {"messages": value})
    if isinstance(value, dict):
        return Record(line, {str(key): item for key, item in value.items()})
    if isinstance(value, str):
        return Record(line, {"text": value})
    message = f"the row is a {type(value).__name__}, not a mapping"
    return Record(line, {}, error("not_an_object", message, "Write key: value rows.", line))


def _bad_yaml(problem: Exception, line: int = 1) -> Problem:
    mark = getattr(problem, "problem_mark", None)
    line = mark.line + 1 if mark is not None else line
    reason = getattr(problem, "problem", None) or str(problem) or type(problem).__name__
    if isinstance(problem, RecursionError):
        reason = "nested too deeply"
    return error("bad_yaml", f"not valid YAML: {' '.join(str(reason).split())}", "Check the indentation.", line)
