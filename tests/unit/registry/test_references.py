"""References: what they may be, and names in the store that never meet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.registry.errors import InvalidReference
from zaffre.registry.references import HubReference, parse_reference
from zaffre.registry.store import check_name


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hf:gpt2", HubReference("gpt2")),
        ("hf:a/b", HubReference("a/b")),
        ("hf:a/b@main", HubReference("a/b")),
        ("hf:a/b@refs/pr/1", HubReference("a/b", "refs/pr/1")),
        ("hf:a/b:Q4_K_M", HubReference("a/b", "main", "Q4_K_M")),
        (
            "hf:a/b@v1.0:x/y-00001-of-00002.gguf",
            HubReference("a/b", "v1.0", "x/y-00001-of-00002.gguf"),
        ),
        ("hf:a/b:*q4.gguf", HubReference("a/b", "main", "*q4.gguf")),
        ("hf:a/b:c@d", HubReference("a/b", "main", "c@d")),
    ],
)
def test_a_reference_is_read(text: str, reference: HubReference) -> None:
    assert parse_reference(text) == reference
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        *("hf:", "hf:/b", "hf:a/", "hf:a/b/c", "hf:../b", "hf:a/b@", "hf:a/b:", "a/b", "hf: a/b"),
        *("hf:a/b:../c", "hf:a/b:/etc/passwd", "hf:a/b:c\\d", "hf:a/b@../c", "hf:a/b:x\ny"),
        *("hf:a/b@-x", "hf:a/" + "b" * 500, "hf:a/b\n", "hf:á/b"),
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference, match="Write hf:OWNER/REPOSITORY"):
        parse_reference(text)


WORDS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,80}\Z")
REFERENCES = st.builds(
    HubReference,
    st.builds("{}/{}".format, WORDS, WORDS),
    WORDS,
    st.text(st.characters(exclude_categories=["C"]), max_size=100),
)


@given(REFERENCES)
def test_every_reference_has_a_name_the_store_keeps(reference: HubReference) -> None:
    assert check_name(reference.store_name) == reference.store_name


@given(REFERENCES, REFERENCES)
def test_two_references_have_two_names(one: HubReference, other: HubReference) -> None:
    assert (one == other) == (one.store_name == other.store_name)


def test_a_name_stays_what_it_is() -> None:
    # Written down: models that are installed are found by it.
    name = parse_reference("hf:microsoft/Phi-3-mini-4k-instruct-gguf:q4").store_name

    assert name == "microsoft-phi-3-mini-4k-instruct-gguf-q4-3764f93813"
