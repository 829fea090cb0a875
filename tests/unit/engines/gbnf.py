"""llama.cpp's grammar notation, as far as it is used here: draws texts from one, and reads them."""

import re
from random import Random

_TOKEN = re.compile(
    r'\s+|"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}|[a-z][a-z0-9]*|[()|*+?]'
)
_ESCAPE = re.compile(r"\\U([0-9A-F]{8})|\\u([0-9A-Fa-f]{4})|\\(.)|(.)", re.DOTALL)

Node = tuple  # text, set, rule, seq, alt or rep, and what belongs to it


class Grammar:
    """A parsed grammar."""

    def __init__(self, source: str) -> None:
        self.rules: dict[str, Node] = {}
        for line in source.splitlines():
            name, _, body = line.partition(" ::= ")
            assert re.fullmatch(r"[a-z][a-z0-9]*", name), line
            self.rules[name] = _Parser(body).parse()

    def draw(self, random: Random, budget: int = 200) -> str:
        """A text of the grammar; short ones when the budget of steps is used up."""
        out: list[str] = []
        left = [budget]
        self._draw(self.rules["root"], random, out, left)
        return "".join(out)

    def _draw(self, node: Node, random: Random, out: list[str], left: list[int]) -> None:
        left[0] -= 1
        match node:
            case ("text", text):
                out.append(text)
            case ("set", ranges):
                low, high = random.choice(ranges)
                out.append(chr(random.randint(low, min(high, low + 200))))
            case ("rule", name):
                self._draw(self.rules[name], random, out, left)
            case ("seq", parts):
                for part in parts:
                    self._draw(part, random, out, left)
            case ("alt", parts):
                choice = random.choice(parts) if left[0] > 0 else min(parts, key=self.cost)
                self._draw(choice, random, out, left)
            case ("rep", part, low, high):
                most = low + 3 if high is None else min(high, low + 3)
                for _ in range(random.randint(low, most) if left[0] > 0 else low):
                    self._draw(part, random, out, left)

    def cost(self, node: Node, depth: int = 0) -> int:
        """Roughly how much the shortest text of a node takes."""
        if depth > 12:
            return 1000
        match node:
            case ("rule", name):
                return 1 + self.cost(self.rules[name], depth + 1)
            case ("seq", parts):
                return sum(self.cost(part, depth + 1) for part in parts)
            case ("alt", parts):
                return min(self.cost(part, depth + 1) for part in parts)
            case ("rep", part, low, _):
                return low * self.cost(part, depth + 1) if low else 0
            case _:
                return 1

    def matches(self, text: str) -> bool:
        """Whether the grammar has `text`."""
        return len(text) in self._ends(self.rules["root"], text, 0)

    def _ends(self, node: Node, text: str, start: int) -> set[int]:
        match node:
            case ("text", literal):
                return {start + len(literal)} if text.startswith(literal, start) else set()
            case ("set", ranges):
                inside = start < len(text) and any(a <= ord(text[start]) <= b for a, b in ranges)
                return {start + 1} if inside else set()
            case ("rule", name):
                return self._ends(self.rules[name], text, start)
            case ("seq", parts):
                ends = {start}
                for part in parts:
                    ends = {end for at in ends for end in self._ends(part, text, at)}
                return ends
            case ("alt", parts):
                return {end for part in parts for end in self._ends(part, text, start)}
            case ("rep", part, low, high):
                return self._repeat_ends(part, low, high, text, start)
        raise AssertionError(node)

    def _repeat_ends(
        self, part: Node, low: int, high: int | None, text: str, start: int
    ) -> set[int]:
        found, ends, count = set[int](), {start}, 0
        while ends:
            if count >= low:
                found |= ends
            if count == high:
                break
            ends = {e for at in ends for e in self._ends(part, text, at)} - (
                found if count >= low else set()
            )
            count += 1
        return found


class _Parser:
    def __init__(self, body: str) -> None:
        self._tokens = []
        at = 0
        while at < len(body):
            found = _TOKEN.match(body, at)
            assert found, f"no token at {body[at : at + 20]!r}"
            at = found.end()
            if not found[0].isspace():
                self._tokens.append(found[0])
        self._at = 0

    def parse(self) -> Node:
        node = self._alternatives()
        assert self._at == len(self._tokens), self._tokens[self._at :]
        return node

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _alternatives(self) -> Node:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else ("alt", parts)

    def _sequence(self) -> Node:
        parts = []
        while self._peek() not in {"", "|", ")"}:
            parts.append(self._item())
        return ("seq", parts)

    def _item(self) -> Node:
        token = self._peek()
        self._at += 1
        if token == "(":
            node = self._alternatives()
            assert self._peek() == ")"
            self._at += 1
        elif token[0] == '"':
            node = ("text", "".join(map(chr, _codes(token[1:-1]))))
        elif token[0] == "[":
            node = ("set", _ranges(token[1:-1]))
        else:
            node = ("rule", token)
        return self._repeated(node)

    def _repeated(self, node: Node) -> Node:
        sign = self._peek()
        if sign and sign in "*+?":
            self._at += 1
            return ("rep", node, 1 if sign == "+" else 0, 1 if sign == "?" else None)
        if sign.startswith("{"):
            self._at += 1
            low, comma, high = sign[1:-1].partition(",")
            assert max(int(low), int(high or 0)) <= 2000, "llama.cpp refuses more"
            return ("rep", node, int(low), int(high) if high else None if comma else int(low))
        return node


def _codes(text: str) -> list[int]:
    names = {"n": 10, "r": 13, "t": 9}
    return [
        int(long or short, 16)
        if long or short
        else names.get(escaped, ord(escaped or plain))
        if escaped
        else ord(plain)
        for long, short, escaped, plain in _ESCAPE.findall(text)
    ]


def _ranges(text: str) -> list[tuple[int, int]]:
    codes, ranges, at = _codes(text), [], 0
    while at < len(codes):
        if at + 2 < len(codes) and codes[at + 1] == ord("-"):
            ranges.append((codes[at], codes[at + 2]))
            at += 3
        else:
            ranges.append((codes[at], codes[at]))
            at += 1
    return ranges
