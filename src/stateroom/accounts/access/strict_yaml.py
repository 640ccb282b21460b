"""Reads YAML strictly, as nodes that know their lines. The rules file is read from them (`rules_file.py`).

YAML has forms that say something else than they seem to: `no` is false, `15:00` is 900, a second key of the same name replaces the
first, `*name` repeats what stands elsewhere. Here a text is what is written, and whatever else is unexpected is an error with its
line. Nothing is ever built from tags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_BYTES = 262_144
MAX_DEPTH = 8
MAX_SHOWN = 60

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast, but not in every build of PyYAML
_TEXT = "tag:yaml.org,2002:str"


class Fault(Exception):
    """Something in a file is wrong. `line`: counted from 1. The text says what is wrong, and how to fix it."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def load(data: bytes) -> yaml.Node:
    """The root of the only document in a file. Raises `Fault`."""
    if len(data) > MAX_BYTES:
        raise Fault(1, f"the file is larger than {MAX_BYTES // 1024} KiB; shorten it")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Fault(1 + data.count(b"\n", 0, error.start), "this is not UTF-8; save the file as UTF-8") from None
    try:
        _check_events(text)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error) from None
    except yaml.reader.ReaderError as error:
        raise Fault(1 + text.count("\n", 0, error.position), "this character is not allowed in YAML; delete it") from None
    if root is None:
        raise Fault(1, "the file is empty; write a list of rules, or unset ACCESS_RULES_FILE")
    return root


def line_of(node: yaml.Node) -> int:
    """The line where a node begins, counted from 1."""
    return _line(node.start_mark)


def items(node: yaml.Node, what: str) -> Sequence[yaml.Node]:
    """The items of a list that is not empty. `what`: the name of the list. Raises `Fault`."""
    if not isinstance(node, yaml.SequenceNode):
        wrong(node, f"{what} must be a list; write [ and ] around it, or a hyphen before each item")
    if not node.value:
        wrong(node, f"{what} is empty; write at least one item, or remove it")
    return list(node.value)


def fields(node: yaml.Node, what: str, known: Sequence[str]) -> Mapping[str, yaml.Node]:
    """The values of a mapping, by its keys. Raises `Fault` for a key that is not `known`, or that is there twice."""
    if not isinstance(node, yaml.MappingNode):
        wrong(node, f"{what} must be a mapping; write it with the keys {', '.join(known)}")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = text_of(key, f"a key of {what}")
        if name not in known:
            wrong(key, f"{what} has no key {shown(name)}; its keys are {', '.join(known)}")
        if name in found:
            wrong(key, f"{name} is there twice; remove one, or put both into one list")
        found[name] = value
    if not found:
        wrong(node, f"{what} is empty; write it with the keys {', '.join(known)}")
    return found


def text_of(node: yaml.Node, what: str) -> str:
    """A text. Raises `Fault` for anything that YAML does not read as one: a number, `yes`, `no`, `null`, a list."""
    if not isinstance(node, yaml.ScalarNode):
        wrong(node, f"{what} must be a text, not a list or a mapping; write it without brackets and hyphens")
    if node.tag != _TEXT:
        wrong(node, f"{what} is {shown(node.value)}, which is no text in YAML; write it in quotes")
    return str(node.value)


def plain_of(node: yaml.Node, what: str) -> str:
    """A text, a number or a word such as `true`, as it is written. Raises `Fault` for a list or a mapping."""
    if not isinstance(node, yaml.ScalarNode):
        wrong(node, f"{what} must be a single value, not a list or a mapping; write it without brackets and hyphens")
    return str(node.value)


def shown(text: str) -> str:
    """A text of the file for a message: in quotes, in one line, and not longer than a line."""
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…")


def wrong(node: yaml.Node, text: str) -> NoReturn:
    """Raise a `Fault` at a node."""
    raise Fault(line_of(node), text)


def _check_events(text: str) -> None:
    """Refuse what is no tree of a sensible depth, before anything is built. Raises `Fault`, and what PyYAML raises."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = _line(event.start_mark)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Fault(
                line, "& and * name and repeat a part of a file, which is not allowed here; write the part again, or use quotes"
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise Fault(line, "lists or mappings are nested too deeply; correct the brackets and the indentation")


def _not_yaml(error: yaml.MarkedYAMLError) -> Fault:
    line = _line(error.problem_mark or error.context_mark)
    if "alias" in (error.context or ""):
        return Fault(line, 'a text that begins with * must be in quotes; write for example "*.example.com"')
    if "another document" in (error.problem or ""):
        return Fault(line, "a second document begins here; remove the line ---")
    return Fault(line, f"this is not YAML: {error.problem}; correct the indentation, the brackets and the quotes")


def _line(mark: Any) -> int:
    return 1 if mark is None else int(mark.line) + 1
