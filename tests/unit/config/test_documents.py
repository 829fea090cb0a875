"""Documents: YAML within bounds, and the place of everything in it."""

from pathlib import Path

import pytest

from zaffre.config.documents import (
    MAX_DEPTH,
    MAX_DOCUMENTS,
    MAX_FILE_BYTES,
    InvalidDeclaration,
    Remark,
    plain_documents,
    read_text,
    read_yaml,
)


def values(text: str) -> list[object]:
    return [document.value for document in read_text(text, "f.yaml", None)]


def trouble(text: str) -> Remark:
    with pytest.raises(InvalidDeclaration) as caught:
        read_text(text, "f.yaml", None)
    (remark,) = caught.value.troubles
    return remark


def test_a_file_has_several_documents():
    """Given documents, some empty, when they are read, then the empty ones are gone."""
    assert values("a: 1\n---\n---\n# nothing\n---\nb: [x, 2, 1.5, true, null]\n") == [
        {"a": 1},
        {"b": ["x", 2, 1.5, True, None]},
    ]


def test_dates_stay_texts():
    """Given what YAML takes for a date, when it is read, then it is the text that was written."""
    assert values("version: 2024-06-01\nat: 2024-06-01 10:00:00\n") == [
        {"version": "2024-06-01", "at": "2024-06-01 10:00:00"}
    ]


def test_aliases_and_merges_are_followed():
    """Given an anchor, when it is used twice, then both have its values."""
    text = "base: &b {x: 1, y: 2}\nplain: *b\nmerged: {<<: *b, y: 3}\n"
    assert values(text) == [
        {"base": {"x": 1, "y": 2}, "plain": {"x": 1, "y": 2}, "merged": {"x": 1, "y": 3}}
    ]


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", 4, 3, "'c' is here twice"),
        ("a: &x [1, *x]\n", 1, 4, "contains itself"),
        ("a: &x {b: *x}\n", 1, 4, "contains itself"),
        ("1: a\n", 1, 1, "a key must be text"),
        ("true: a\n", 1, 1, "a key must be text"),
        ("? [a]\n: b\n", 1, 3, "a key must be text"),
        ("a: .inf\n", 1, 4, "finite"),
        ("a: -.INF\n", 1, 4, "finite"),
        ("a: .nan\n", 1, 4, "finite"),
        ('a: "\\ud800"\n', 1, 4, "Unicode"),
        ("a: !!binary aGk=\n", 1, 4, "tag"),
        ("a: !!set {x}\n", 1, 4, "tag"),
        ("a: !thing x\n", 1, 4, "tag"),
        ("a: *nobody\n", 1, 4, "undefined alias"),
        ("a: 'x\n", 2, 1, "end of stream"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(text: str, line: int, column: int, words: str):
    """Given YAML that is not plain, when it is read, then the complaint has line and column."""
    remark = trouble(text)
    assert (remark.line, remark.column) == (line, column)
    assert words in remark.text
    assert str(remark).startswith(f"f.yaml:{line}:{column}: ")


def test_a_bomb_of_aliases_does_not_go_off():
    """Given a few lines that unfold into 10^12 values, when they are read, then that is refused."""
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "unfolds" in trouble("\n".join(rows)).text


def test_a_bomb_of_merges_does_not_go_off():
    """Given merge keys that merge merges, when they are read, then that is refused."""
    rows = ["a0: &a0 {x: 1}"]
    rows += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    assert "unfolds" in trouble("\n".join(rows)).text


def test_a_chain_of_aliases_has_a_depth_too():
    """Given aliases in aliases, when they unfold too deeply, then that is refused."""
    rows = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH + 1)]
    assert "deeply" in trouble("\n".join(rows)).text


@pytest.mark.parametrize("levels", [MAX_DEPTH + 2, 500, 20_000])
def test_deep_nesting_is_refused(levels: int):
    """Given many levels, when they are read, then neither the bound nor Python gives way."""
    assert "deeply" in trouble("[" * levels + "]" * levels).text


def test_many_documents_are_refused():
    """Given more documents than anybody has, when they are read, then that is refused."""
    assert "documents" in trouble("a: 1\n---\n" * (MAX_DOCUMENTS + 1)).text


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path):
    """Given no file, a folder, bytes that are no text or too many, then the complaint says so."""
    path = tmp_path / "z.yaml"
    for content, words in [
        (None, "No such file"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"a: \x00\n", "not allowed"),
        (b"#" * (MAX_FILE_BYTES + 1), "larger"),
    ]:
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InvalidDeclaration, match=words) as caught:
            read_yaml(path)
        assert caught.value.message.startswith(f"{path}: ")
    with pytest.raises(InvalidDeclaration, match="directory"):
        read_yaml(tmp_path)


def test_a_byte_order_mark_is_no_content(tmp_path: Path):
    """Given a file of an editor that marks UTF-8, when it is read, then the mark is gone."""
    path = tmp_path / "z.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    (document,) = read_yaml(path)
    assert document.value == {"a": 1}
    assert document.base == tmp_path


def test_places_in_yaml_have_line_and_column():
    """Given steps, when something is said about them, then it is about the nearest thing there."""
    text = "a: 1\nlist:\n  - name: x\n    tags:\n      k: v\n"
    (document,) = read_text(text, "f.yaml", None)

    def place(*steps: str | int, at_key: bool = False) -> tuple[int | None, int | None, str]:
        remark = document.remark(steps, "!", at_key=at_key)
        return remark.line, remark.column, remark.path

    assert place() == (1, 1, "")
    assert place("a") == (1, 4, "a")
    assert place("a", at_key=True) == (1, 1, "a")
    assert place("list") == (2, 1, "list")
    assert place("list", 0, "name") == (3, 11, "list[0].name")
    assert place("list", 0, "tags") == (4, 5, "list[0].tags")
    assert place("list", 0, "tags", "k") == (5, 10, "list[0].tags.k")
    assert place("list", 0, "missing") == (3, 5, "list[0].missing")
    assert place("list", 9, "name") == (2, 1, "list[9].name")


def test_places_in_requests_are_paths():
    """Given parsed documents, when something is said about one, then its path tells which."""
    (single,) = plain_documents([{"a": [1]}], "request")
    assert str(single.remark(("a", 0), "is bad.")) == "request: a[0]: is bad."
    _, second = plain_documents([{}, {"a": 1}], "request")
    assert str(second.remark(("a",), "is bad.")) == "request: [1].a: is bad."
    assert str(single.remark((), "is bad.")) == "request: is bad."


def test_only_true_and_false_are_booleans():
    """Given words that YAML 1.1 took for booleans, when they are read, then they are words."""
    (document,) = read_text("{a: off, b: yes, c: true, d: False, e: On}", "x.yaml", None)
    assert document.value == {"a": "off", "b": "yes", "c": True, "d": False, "e": "On"}
