"""The text of keys: long, different from each other, and recognisable."""

from zaffre.auth.keys import KEY_PATTERN, MAX_KEY_CHARACTERS, is_well_formed, new_key

KEYS = {new_key() for _ in range(100)}


def test_keys_are_long_different_and_fit_into_a_header():
    assert len(KEYS) == 100
    for key in KEYS:
        assert KEY_PATTERN.fullmatch(key)
        assert len(key) == 56 < MAX_KEY_CHARACTERS


def test_every_character_carries_its_part():
    for place in range(len("zaffre-"), 50):
        assert len({key[place] for key in KEYS}) > 30


def test_a_key_is_recognised_without_being_known():
    for key in KEYS:
        assert is_well_formed(key)
        assert not is_well_formed(key[:-1])
        assert not is_well_formed(f" {key}")
        assert not is_well_formed(key[:-1] + ("0" if key[-1] != "0" else "1"))
        swapped = key[:8] + key[9] + key[8] + key[10:]
        assert swapped == key or not is_well_formed(swapped)
    assert not is_well_formed("zaffre-" + "x" * 49)
