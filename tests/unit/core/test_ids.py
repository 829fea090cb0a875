"""Names for requests and answers."""

import uuid

from zaffre.core.ids import new_letters, new_uuid


def test_a_uuid_is_one_of_version_4_and_never_the_same():
    made = [new_uuid() for _ in range(2000)]
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)
    assert len(set(made)) == len(made)


def test_letters_are_letters_and_digits_of_that_number():
    made = [new_letters(29) for _ in range(2000)]
    assert all(len(text) == 29 and text.isascii() and text.isalnum() for text in made)
    assert len(set(made)) == len(made)
