"""Documents: what a file or a request declares, as plain values that know where they stand.

YAML is read safely and within bounds: nothing is built but texts, numbers, booleans, null, lists
and mappings, a key is there once, and aliases cannot unfold into more than a small number of
values.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar, cast

import msgspec
import yaml
from msgspec import Struct

from zaffre.config.msgspec_paths import Step, Steps, steps_to, unknown_field
from zaffre.config.settings import ConfigurationError

MAX_FILE_BYTES = 1024 * 1024
MAX_DOCUMENTS = 256
MAX_VALUES = 50_000
"""Values in a document after its aliases are followed."""
MAX_DEPTH = 32

_YAML = "tag:yaml.org,2002:"
_PLAIN = {f"{_YAML}{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
_MERGE = f"{_YAML}merge"
_NOT_RESOLVED = (f"{_YAML}timestamp", f"{_YAML}bool")
_BOOLEAN = re.compile("(?:true|True|TRUE|false|False|FALSE)$")
_T = TypeVar("_T")


class Remark(Struct, frozen=True):
    """Something to say about a place in a document: a trouble or a warning."""

    file: str
    """A file's path, or what the request is called."""
    path: str
    """`deployments[0].name`; empty for the whole document."""
    text: str
    """A sentence."""
    line: int | None = None
    """From 1; None where the document was never text, as in a request."""
    column: int | None = None
    """From 1."""

    def __str__(self) -> str:
        start = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        return ": ".join(part for part in (start, self.path, self.text) if part)


class InvalidDeclaration(ConfigurationError):
    """Documents that cannot be used, with everything that is wrong with them."""

    def __init__(self, troubles: Sequence[Remark]) -> None:
        super().__init__("\n".join(str(trouble) for trouble in troubles))
        self.troubles = tuple(troubles)


class Document:
    """One declaration: a plain value, where it came from, and where relative paths start."""

    def __init__(
        self,
        value: object,
        file: str,
        *,
        node: yaml.Node | None = None,
        base: Path | None = None,
        prefix: str = "",
    ) -> None:
        self.value = value
        self.file = file
        self.base = base
        """The folder that relative paths start at; None: there is none, they are refused."""
        self._node = node
        self._prefix = prefix

    def with_value(self, value: object) -> "Document":
        """The same document with another value; places stay those of the text."""
        return Document(value, self.file, node=self._node, base=self.base, prefix=self._prefix)

    def remark(self, steps: Steps, text: str, *, at_key: bool = False) -> Remark:
        """`text` about the value at `steps`, or about the nearest thing around it that is there."""
        path = self._prefix + "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps
        )
        if self._node is None:
            return Remark(self.file, path.lstrip("."), text)
        mark = _mark_of(self._node, steps, at_key=at_key)
        return Remark(self.file, path.lstrip("."), text, mark.line + 1, mark.column + 1)

    def read(self, kind: type[_T]) -> _T:
        """The whole document as `kind`. Raises `InvalidDeclaration` with the place."""
        try:
            return msgspec.convert(self.value, kind)
        except msgspec.ValidationError as invalid:
            steps, text = steps_to(invalid, self.value, kind)
            unknown = unknown_field(text)
            if unknown is None:
                raise InvalidDeclaration([self.remark(steps, f"{text}.")]) from None
            name, hint = unknown.name, unknown.hint(kind, steps)
            remark = self.remark((*steps, name), f"there is no such field{hint}", at_key=True)
            raise InvalidDeclaration([remark]) from None


def read_yaml(path: Path) -> list[Document]:
    """All documents of a YAML file that say something. Raises `InvalidDeclaration`."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidDeclaration(
                [Remark(str(path), "", f"larger than {MAX_FILE_BYTES} bytes.")]
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidDeclaration([Remark(str(path), "", f"{error.strerror}.")]) from None
    except UnicodeDecodeError:
        raise InvalidDeclaration([Remark(str(path), "", "is not UTF-8.")]) from None
    return read_text(text, str(path), path.resolve().parent)


def read_text(text: str, file: str, base: Path | None) -> list[Document]:
    """All documents of a YAML text. Raises `InvalidDeclaration`."""
    try:
        return list(_documents(text, file, base))
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark, error.problem or "is not YAML"
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise InvalidDeclaration([Remark(file, "", f"{problem}.", line, column)]) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise InvalidDeclaration([Remark(file, "", f"{str(error).splitlines()[0]}.")]) from None
    except RecursionError:
        raise InvalidDeclaration([Remark(file, "", "is nested too deeply.")]) from None


def plain_documents(
    values: Sequence[object], file: str, base: Path | None = None
) -> list[Document]:
    """Values that were parsed already, as from JSON. `file` is what troubles call the request."""
    single = len(values) == 1
    return [
        Document(value, file, base=base, prefix="" if single else f"[{number}]")
        for number, value in enumerate(values)
    ]


class _Loader(yaml.SafeLoader):
    """YAML without dates and all else that JSON lacks; `off` is a word, as in YAML 1.2."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        first: [(tag, pattern) for tag, pattern in rules if tag not in _NOT_RESOLVED]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: build
        for tag, build in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag in _PLAIN
    }


_Loader.add_implicit_resolver(f"{_YAML}bool", _BOOLEAN, list("tTfF"))


def _documents(text: str, file: str, base: Path | None) -> Iterator[Document]:
    loader = _Loader(text)
    try:
        number = 0
        while loader.check_node():
            node = cast("yaml.Node", loader.get_node())
            number += 1
            if number > MAX_DOCUMENTS:
                raise _refusal(node, f"more than {MAX_DOCUMENTS} documents")
            _check_bounds(node)
            try:
                value = loader.construct_document(node)
            except ValueError as error:  # a number in YAML's form that is none
                raise _refusal(node, f"a value cannot be read: {error}") from None
            if value is not None:
                yield Document(value, file, node=node, base=base)
    finally:
        loader.dispose()


def _refusal(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _check_bounds(root: yaml.Node) -> None:
    """Refuse what is too deep, too much, endless, or there twice, before anything is built."""
    measured: dict[int, tuple[int, int]] = {}
    open_nodes: set[int] = set()

    def measure(node: yaml.Node, depth: int) -> tuple[int, int]:
        """How many values a node unfolds into, and how many levels."""
        if id(node) in open_nodes:
            raise _refusal(node, "contains itself")
        if depth > MAX_DEPTH:
            raise _refusal(node, f"is nested too deeply: more than {MAX_DEPTH} levels")
        if id(node) not in measured:
            open_nodes.add(id(node))
            inside = [measure(child, depth + 1) for child in _children(node)]
            open_nodes.remove(id(node))
            values = 1 + sum(values for values, _ in inside)
            measured[id(node)] = values, 1 + max((levels for _, levels in inside), default=0)
        values, levels = measured[id(node)]
        if values > MAX_VALUES:
            raise _refusal(node, f"unfolds into more than {MAX_VALUES} values")
        if depth + levels > MAX_DEPTH + 1:
            raise _refusal(node, f"is nested too deeply: more than {MAX_DEPTH} levels")
        return values, levels

    measure(root, 0)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    """The nodes inside a node, checked: a mapping's keys are texts, each there once."""
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.tag != _MERGE:
                if key.tag != f"{_YAML}str":
                    raise _refusal(key, "a key must be text; put it in quotes")
                if key.value in seen:
                    raise _refusal(key, f"'{key.value}' is here twice")
                _check_scalar(key)
                seen.add(key.value)
            yield value
    elif isinstance(node, yaml.ScalarNode):
        _check_scalar(node)


def _check_scalar(node: yaml.Node) -> None:
    """Only what JSON can hold as well: no infinity, no half of a surrogate pair."""
    if node.tag == f"{_YAML}float" and node.value.lower().strip("+-") in (".inf", ".nan"):
        raise _refusal(node, "must be a finite number")
    if not node.value.isascii() and any("\ud800" <= char <= "\udfff" for char in node.value):
        raise _refusal(node, "is not Unicode text")


def _mark_of(node: yaml.Node, steps: Steps, *, at_key: bool) -> yaml.Mark:
    """Where the value at `steps` begins, or the nearest thing around it that is there.

    A list or mapping begins at its key: its first item may be lines below.
    """
    mark = node.start_mark
    for number, step in enumerate(steps):
        found = _child(node, step)
        if found is None:
            return mark
        key, node = found
        to_key = not isinstance(node, yaml.ScalarNode) or (at_key and number == len(steps) - 1)
        mark = key.start_mark if to_key else node.start_mark
    return mark


def _child(node: yaml.Node, step: Step) -> tuple[yaml.Node, yaml.Node] | None:
    """The key (or value again, in a list) and value at a step."""
    if isinstance(node, yaml.MappingNode):
        return next((pair for pair in reversed(node.value) if pair[0].value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None
