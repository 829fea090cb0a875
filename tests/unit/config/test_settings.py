"""Settings: where a value comes from, and which values are none."""

from typing import Any

import pytest

from zaffre.config.settings import SETTINGS, ConfigurationError, Settings, load_settings


def test_without_anything_said_the_defaults_hold():
    settings = load_settings({}, {}, {})
    assert settings.values == {setting.name: setting.default for setting in SETTINGS}
    assert set(settings.sources.values()) == {"default"}


@pytest.mark.parametrize(
    ("flag", "variable", "file", "expected", "source"),
    [
        (1, "2", 3, 1, "flag"),
        (None, "2", 3, 2, "environment"),
        (None, "", 3, 3, "file"),
        (None, None, 3, 3, "file"),
        (None, None, None, 8080, "default"),
        (0, "2", 3, 0, "flag"),
    ],
)
def test_a_flag_beats_the_environment_beats_the_file(
    flag: int | None, variable: str | None, file: int | None, expected: int, source: str
):
    environ = {} if variable is None else {"ZAFFRE_PORT": variable}
    settings = load_settings({"port": flag, "host": None}, environ, {"port": file})
    assert settings.whole("port") == expected
    assert settings.sources["port"] == source
    assert settings.sources["host"] == "default"


def test_values_are_read_by_their_kind():
    environ = {"ZAFFRE_REQUEST_TIMEOUT_S": "2.5", "ZAFFRE_SLOTS": "3", "ZAFFRE_HOST": "::1"}
    settings = load_settings({}, environ, {})
    assert settings.number("request_timeout_s") == 2.5
    assert settings.whole("slots") == 3
    assert settings.text("host") == "::1"


@pytest.mark.parametrize(
    ("name", "value", "trouble"),
    [
        ("port", "http", "type int"),
        ("port", "80.5", "type int"),
        ("port", "-1", "at least 0"),
        ("port", "65536", "at most 65535"),
        ("slots", "0", "at least 1"),
        ("request_timeout_s", "soon", "type float"),
        ("request_timeout_s", "0", "at least 0.1"),
        ("request_timeout_s", "nan", "finite"),
        ("request_timeout_s", "inf", "finite"),
        ("api_version", "strictly", "lenient, strict"),
        ("log_level", "DEBUG", "debug, info, warning"),
        ("key", "two words", "must match"),
        ("key", " ", "must match"),
        ("key", "schl\xfcssel", "must match"),
        ("key", "k" * 513, "must match"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_source(name: str, value: str, trouble: str):
    variable = f"ZAFFRE_{name.upper()}"
    with pytest.raises(ConfigurationError, match=trouble) as caught:
        load_settings({}, {variable: value}, {})
    assert caught.value.message.startswith(variable)
    with pytest.raises(ConfigurationError, match=rf"{name} \(from file\)"):
        load_settings({}, {}, {name: value})
    with pytest.raises(ConfigurationError, match=rf"{name} \(from flag\)"):
        load_settings({name: value}, {}, {})


def test_an_empty_key_is_not_a_key_for_nobody():
    with pytest.raises(ConfigurationError, match="key"):
        load_settings({"key": ""}, {}, {})
    assert load_settings({}, {"ZAFFRE_KEY": ""}, {}).values["key"] is None


@pytest.mark.parametrize("value", [[], {}, [1], {"a": 1}])
def test_a_file_may_not_hold_something_else_entirely(value: Any):
    with pytest.raises(ConfigurationError, match="port"):
        load_settings({}, {}, {"port": value})


def test_a_setting_that_is_not_there_is_refused():
    with pytest.raises(ConfigurationError, match=r"settings\.prot"):
        load_settings({}, {}, {"prot": 80})


def test_strange_variables_are_no_trouble():
    assert isinstance(load_settings({}, {"ZAFFRE_HOME": "x", "ZAFFRE_": "y"}, {}), Settings)


def test_a_refused_secret_is_not_shown():
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"key": "my secret"}, {}, {})
    assert "my secret" not in caught.value.message


def test_defaults_are_values_that_could_be_set():
    for setting in SETTINGS:
        if setting.default not in (None, ""):
            load_settings({}, {setting.variable: str(setting.default)}, {})
