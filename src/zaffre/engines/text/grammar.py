"""JSON Schema as a grammar of llama.cpp (GBNF): whatever is decoded under it satisfies the schema.

Why not by llama.cpp's own means, seen in 2026-10: builds with llguidance (`xllamacpp` is one) read
the tokens of SentencePiece models, Phi-3's among them, without their leading spaces, and go on
without any constraint when that leads them astray or when they do not understand a schema; builds
without it leave out bounds of numbers, among others, and took 18 s over a list of alternatives.

A grammar may allow less than its schema, never more: members stand in the order of `properties`,
others are not added to them, and there is no white space but one blank after commas and colons.
What cannot be expressed is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from json import dumps
from typing import Any

from zaffre.core.errors import Location, UnsupportedParameter
from zaffre.engines.text.numbers import INTEGER, NUMBER, integers, numbers, read_interval
from zaffre.engines.text.patterns import ANY_CHARACTER, UnknownPatternError, literal, pattern
from zaffre.engines.text.schemas import resolve

MAX_RULES = 20_000
"""Rules of one grammar: what bounds the time llama.cpp takes to read it."""
MAX_COUNT = 1500
"""The largest bound of a length that becomes one repetition; llama.cpp refuses 2000."""

_HEX = "[0-9a-fA-F]"
_CHARACTER = ANY_CHARACTER
_UNSUPPORTED = (
    "not",
    "if",
    "contains",
    "patternProperties",
    "dependentSchemas",
    "dependentRequired",
    "dependencies",
    "multipleOf",
    "uniqueItems",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_ANNOTATIONS = frozenset(
    {"$id", "$schema", "$defs", "definitions", "$comment", "title", "description", "default",
     "examples", "deprecated", "readOnly", "writeOnly", "$anchor", "discriminator", "strict"}
)  # fmt: skip
_DATE = '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8])'
_TIME = (
    '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})?'
    ' ("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])'
)
_FORMATS = {
    # Days up to the 28th: in every month there are so many.
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": f'{_HEX}{{8}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{12}}',
}
"""Formats that are held to. All others are remarks, as JSON Schema has it."""
_KINDS = {
    "object": ("properties", "required", "additionalProperties", "propertyNames"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}
"""Keywords that tell the type where `type` does not."""


_WORDS: dict[str, tuple[bool | None, ...]] = {"boolean": (True, False), "null": (None,)}
MAX_BRANCHING = 32
"""Depth of the tree of an `enum`; below it the texts are listed as they are."""


def write_grammar(schema: dict[str, Any], location: Location) -> str:
    """The grammar of the JSON texts that satisfy `schema`, which has passed `check_schema`.

    Raises `UnsupportedParameter` at `location` that names the keyword which cannot be held to.
    """
    writer = _Writer(schema, location)
    root = writer.value(schema, "#")
    # SentencePiece models like to begin with a blank.
    return "\n".join([f'root ::= " "? {root}', *writer.lines()]) + "\n"


class _Writer:
    """Collects the rules of one grammar; equal ones become one."""

    def __init__(self, root: dict[str, Any], location: Location) -> None:
        self._root, self._location = root, location
        self._rules: dict[str, str] = {}
        self._named: dict[str, str] = {}
        self._references: dict[str, str] = {}

    def lines(self) -> list[str]:
        """All rules but the first."""
        return [f"{name} ::= {body}" for name, body in self._rules.items()]

    def value(self, schema: object, place: str) -> str:
        """The rule for values of `schema`."""
        if schema is True or schema == {}:
            return self._any()
        if not isinstance(schema, dict):
            raise self._refused(place, "allows nothing")
        for key in _UNSUPPORTED:
            if key in schema and schema[key] is not False:
                raise self._refused(f"{place}/{key}", "is not supported by the llama engine")
        if "$ref" in schema:
            return self._reference(schema, place)
        for key in ("allOf", "anyOf", "oneOf"):
            if key in schema:
                return self._combined(key, schema, place)
        if "const" in schema:
            return self._words([schema["const"]])
        if "enum" in schema:
            return self._words(schema["enum"])
        kinds = self._kinds(schema)
        return self._rule(" | ".join(dict.fromkeys(self._typed(k, schema, place) for k in kinds)))

    # --- rules -----------------------------------------------------------------------------

    def _rule(self, body: str) -> str:
        if body in self._rules:  # it is another rule's name
            return body
        if body not in self._named:
            self._named[body] = self._new(body)
        return self._named[body]

    def _new(self, body: str) -> str:
        if len(self._rules) >= MAX_RULES:
            raise self._refused("#", f"takes more than {MAX_RULES} rules")
        name = f"r{len(self._rules)}"
        self._rules[name] = body
        return name

    def _refused(self, place: str, trouble: str) -> UnsupportedParameter:
        message = f"An answer cannot be held to this JSON Schema: {place[:200]} {trouble}."
        return UnsupportedParameter(self._location, place[:200], message)

    def _any(self) -> str:
        if "any" not in self._rules:
            self._rules["any"] = ""  # it refers to itself
            text = self._string({}, "#")
            items = self._list("any", 0, None)
            members = self._list(f'{text} ": " any', 0, None)
            self._rules["any"] = (
                f'{text} | {NUMBER} | "true" | "false" | "null"'
                f' | "[" {items} "]" | "{{" {members} "}}"'
            )
        return "any"

    def _reference(self, schema: dict[str, Any], place: str) -> str:
        beside = schema.keys() - _ANNOTATIONS - {"$ref"}
        if beside:
            raise self._refused(f"{place}/{min(beside)}", "stands beside '$ref'")
        target = schema["$ref"]
        if target not in self._references:
            name = self._references[target] = self._new("")  # it may refer to itself
            self._rules[name] = self.value(resolve(self._root, target), target)
        return self._references[target]

    def _combined(self, key: str, schema: dict[str, Any], place: str) -> str:
        """Alternatives, or all of several, with what else the schema says."""
        base = {name: said for name, said in schema.items() if name not in {key, *_ANNOTATIONS}}
        places = [f"{place}/{key}/{at}" for at in range(len(schema[key]))]
        if key == "allOf":
            for part, where in zip(schema[key], places, strict=True):
                base = self._merged(base, part, where)
            return self.value(base, place)
        found = [
            self.value(self._merged(base, part, where) if base else part, where)
            for part, where in zip(schema[key], places, strict=True)
        ]
        return self._rule(" | ".join(dict.fromkeys(found)))

    def _merged(self, base: dict[str, Any], part: object, place: str) -> dict[str, Any]:
        """One schema that says what both say."""
        while isinstance(part, dict) and part.keys() - _ANNOTATIONS == {"$ref"}:
            part = resolve(self._root, part["$ref"])
        if not isinstance(part, dict):
            raise self._refused(place, "is combined with others")
        merged = dict(base)
        for key, said in part.items():
            before: Any = merged.get(key, said)
            if key in _ANNOTATIONS or before == said:
                merged[key] = said
            elif key == "required":
                merged[key] = [*before, *(name for name in said if name not in before)]
            elif key == "properties" and all(before.get(n, s) == s for n, s in said.items()):
                merged[key] = {**before, **said}
            else:
                raise self._refused(f"{place}/{key}", "says something else than another part")
        return merged

    def _words(self, values: Sequence[object]) -> str:
        """Exactly one of `values`."""
        texts = [dumps(value, ensure_ascii=False) for value in values]
        return self._rule(self._branches(sorted(set(texts)), 0, MAX_BRANCHING))

    def _branches(self, texts: Sequence[str], start: int, depth: int) -> str:
        """One of `texts`, from the character `start` on. What begins alike is written once.

        A grammar with a thousand alternatives is slow; one with a tree of them is not.
        """
        if len(texts) == 1 or depth == 0:
            return " | ".join(literal(text[start:]) for text in texts)
        first, last = texts[0], texts[-1]  # they are sorted: these two differ the most
        shared = start
        while shared < min(len(first), len(last)) and first[shared] == last[shared]:
            shared += 1
        groups: dict[str, list[str]] = {}
        for text in texts:
            groups.setdefault(text[shared : shared + 1], []).append(text)
        branches = " | ".join(self._branches(group, shared, depth - 1) for group in groups.values())
        common = f"{literal(first[start:shared])} " if shared > start else ""
        return f"{common}({branches})"

    # --- types -----------------------------------------------------------------------------

    def _kinds(self, schema: Mapping[str, Any]) -> list[str]:
        kind = schema.get("type")
        if kind is not None:
            return list(kind) if isinstance(kind, list) else [kind]
        told = [name for name, keys in _KINDS.items() if any(key in schema for key in keys)]
        return told[:1] or ["any"]

    def _typed(self, kind: str, schema: dict[str, Any], place: str) -> str:
        if kind in _WORDS:
            return self._words(_WORDS[kind])
        if kind in {"integer", "number"}:
            return self._number(kind, schema, place)
        write = {"object": self._object, "array": self._array, "string": self._string}.get(kind)
        return self._any() if write is None else write(schema, place)

    def _number(self, kind: str, schema: dict[str, Any], place: str) -> str:
        interval = read_interval(schema)
        if interval.low is None and interval.high is None:
            return self._rule(INTEGER if kind == "integer" else NUMBER)
        body = integers(interval) if kind == "integer" else numbers(interval)
        if body is None:
            raise self._refused(place, "has bounds that no number satisfies")
        return self._rule(body)

    def _string(self, schema: Mapping[str, Any], place: str) -> str:
        low, high = schema.get("minLength", 0), schema.get("maxLength")
        if "pattern" in schema:
            if low or high is not None:
                raise self._refused(f"{place}/pattern", "has a length beside it")
            try:
                body = pattern(schema["pattern"])
            except UnknownPatternError as unknown:
                raise self._refused(f"{place}/pattern", f"has {unknown}") from None
        elif schema.get("format") in _FORMATS:
            body = _FORMATS[schema["format"]]
        else:
            body = self._repeated(self._rule(_CHARACTER), low, high, place)
        return self._rule(f'"\\"" {body} "\\""')

    def _repeated(self, item: str, low: int, high: int | None, place: str) -> str:
        """`item`, from `low` to `high` times. Long repetitions are cut into blocks."""
        if high is not None and low > high:
            raise self._refused(place, "has bounds that nothing satisfies")
        if low > MAX_COUNT:
            block = self._rule(f"{item}{{{MAX_COUNT}}}")
            rest = None if high is None else high - MAX_COUNT
            return f"{block} {self._repeated(item, low - MAX_COUNT, rest, place)}"
        if high is None:
            return f"{item}{{{low},}}" if low else f"{item}*"
        if high <= MAX_COUNT:
            return f"{item}{{{low},{high}}}"
        # Either more than a block or not: never two ways to read the same text for long.
        block = self._rule(f"{item}{{{MAX_COUNT}}}")
        longer = self._rule(self._repeated(item, 0, high - MAX_COUNT, place))
        return f"({item}{{{low},{MAX_COUNT - 1}}} | {block} {longer})"

    def _list(self, item: str, low: int, high: int | None, place: str = "#") -> str:
        """`item`, from `low` to `high` times, with commas between."""
        if high == 0:
            return ""
        more = self._rule(f'", " {item}')
        rest = self._repeated(more, max(low - 1, 0), None if high is None else high - 1, place)
        return f"{item} {rest}" if low else f"({item} {rest})?"

    def _array(self, schema: dict[str, Any], place: str) -> str:
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        first = [
            self.value(item, f"{place}/prefixItems/{at}")
            for at, item in enumerate(schema.get("prefixItems", ()))
        ]
        if first:
            # As many as are described; more would be allowed, and nobody says what they mean.
            if low > len(first) or (high is not None and high < len(first)):
                raise self._refused(f"{place}/prefixItems", "has a length beside it")
            return self._rule('"[" ' + ' ", " '.join(first) + ' "]"')
        item = self.value(schema.get("items", True), f"{place}/items") if high != 0 else ""
        return self._rule(f'"[" {self._list(item, low, high, place)} "]"')

    def _object(self, schema: dict[str, Any], place: str) -> str:
        properties = dict(schema.get("properties", {}))
        others = schema.get("additionalProperties", True)
        for name in schema.get("required", ()):
            properties.setdefault(name, others)
        low, high = schema.get("minProperties", 0), schema.get("maxProperties")
        if not properties:
            return self._map(schema, others, place)
        required = set(schema.get("required", ()))
        if low > len(required) or (high is not None and high < len(properties)):
            raise self._refused(place, "counts properties that it names")
        members = [
            (
                f'{literal(dumps(name, ensure_ascii=False))} ": " '
                f"{self.value(described, f'{place}/properties/{name}')}",
                name in required,
            )
            for name, described in properties.items()
        ]
        return self._rule(f'"{{" {self._members(members)} "}}"')

    def _members(self, members: Iterable[tuple[str, bool]]) -> str:
        """Members in order, those that are not required at will.

        Two rules per member, from the last to the first: what may follow when a member stands
        before, which takes a comma, and what may follow when none does.
        """
        after, alone = '""', '""'
        for member, required in reversed(list(members)):
            begun = f"{member} {after}"
            following = f'", " {member} {after}'
            alone = self._rule(begun if required else f"{begun} | {alone}")
            after = self._rule(following if required else f"{following} | {after}")
        return alone

    def _map(self, schema: dict[str, Any], others: object, place: str) -> str:
        low, high = schema.get("minProperties", 0), schema.get("maxProperties")
        if others is False or high == 0:
            if low:
                raise self._refused(place, "allows no properties and asks for some")
            return self._rule('"{}"')
        if low > 1:
            raise self._refused(f"{place}/minProperties", "cannot be told from a name used twice")
        name = self.value({"type": "string", **schema.get("propertyNames", {})}, place)
        described = self.value(others, f"{place}/additionalProperties")
        member = self._rule(f'{name} ": " {described}')
        return self._rule(f'"{{" {self._list(member, low, high, place)} "}}"')
