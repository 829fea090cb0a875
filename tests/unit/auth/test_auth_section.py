"""The section `auth:` of the file: what it may say, and what it means."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from zaffre.auth.assembly import make_chain
from zaffre.auth.declared_keys import read_keys
from zaffre.config.auth_section import AuthDeclaration, check_auth
from zaffre.config.settings import ConfigurationError

ISSUER = {"name": "entra", "issuer": "https://login.example/{tenantid}/v2.0", "tenants": ["t"]}


def _section(**fields: Any) -> AuthDeclaration:
    return msgspec.convert(fields, AuthDeclaration)


def _issuer(**changes: Any) -> AuthDeclaration:
    return _section(issuers=[{**ISSUER, "rules": [{}], **changes}])


def test_an_empty_section_says_nothing():
    section = _section()
    check_auth(section)
    assert section == AuthDeclaration()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"issuer": "http://127.0.0.1:8443/dev", "tenants": []},
        {"issuer": "http://localhost", "jwks_url": "http://[::1]:1/keys", "tenants": []},
        {"algorithms": ["ES256"], "clock_skew_s": 0},
        {"rules": [{"roles": ["call-{model}"]}]},
    ],
    ids=str,
)
def test_what_issuers_can_be(changes: dict[str, Any]):
    check_auth(_issuer(**changes))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"issuer": "http://login.example", "tenants": []}, "https"),
        ({"issuer": "login.example"}, "https"),
        ({"issuer": "https://", "tenants": []}, "https"),
        ({"issuer": "https://a:b@login.example", "tenants": []}, "password"),
        ({"issuer": "https://login.example:x", "tenants": []}, "no address"),
        ({"jwks_url": "http://keys.example/k"}, "https"),
        ({"jwks_url": "file:///keys"}, "https"),
        ({"tenants": []}, "tenants"),
        ({"name": "a/b"}, "name"),
        ({"rules": [{"roles": ["call-{model}"], "models": ["m"]}]}, "list of models"),
        ({"rules": [{"roles": ["{model}{model}"]}]}, "once"),
    ],
    ids=str,
)
def test_what_issuers_cannot_be(changes: dict[str, Any], complaint: str):
    with pytest.raises(ConfigurationError, match=complaint):
        check_auth(_issuer(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"audiences": []},
        {"rules": []},
        {"rules": [{"permissions": ["root"]}]},
        {"rules": [{"role": ["call"]}]},
        {"clock_skew_s": 3600},
        {"verify": False},
    ],
    ids=str,
)
def test_what_cannot_even_be_said(changes: dict[str, Any]):
    with pytest.raises(msgspec.ValidationError):
        _issuer(**changes)


def test_twins_are_refused():
    twins = [{**ISSUER, "rules": [{}]}, {**ISSUER, "rules": [{}], "name": "other"}]
    with pytest.raises(ConfigurationError, match=r"login\.example.*twice"):
        check_auth(_section(issuers=twins))
    keys = [{"name": "a", "key_env": "A"}, {"name": "A", "key_env": "B"}]
    with pytest.raises(ConfigurationError, match="'a' is declared twice"):
        check_auth(_section(keys=keys))


def test_keys_are_read_from_where_they_are_kept(tmp_path: Path):
    (tmp_path / "key").write_text("from-file\n")
    section = _section(
        keys=[
            {"name": "a", "key_env": "KEY_A", "models": ["Phi-3"], "operations": ["chat"]},
            {"name": "b", "key_file": "key", "permissions": ["admin"]},
        ]
    )
    check_auth(section)

    one, two = read_keys(section, {"KEY_A": "from-env"}, tmp_path)

    assert (one.name, one.key) == ("a", "from-env")
    assert (one.grant.models, one.grant.operations) == ({"phi-3"}, {"chat"})
    assert (two.key, two.grant.permissions) == ("from-file", {"admin"})


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ({"key_env": "MISSING"}, "MISSING"),
        ({"key_file": "missing"}, "missing"),
        ({"key_env": "BLANKS"}, "visible"),
        ({"key_file": "empty"}, "visible"),
        ({"key_file": "binary"}, "ASCII"),
    ],
    ids=str,
)
def test_keys_that_cannot_be_read_are_named(tmp_path: Path, key: dict[str, str], complaint: str):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    section = _section(keys=[{"name": "a", **key}])
    with pytest.raises(ConfigurationError, match=complaint):
        read_keys(section, {"BLANKS": "a b"}, tmp_path)


@pytest.mark.parametrize("key", [{}, {"key_env": "A", "key_file": "b"}], ids=str)
def test_a_key_is_kept_in_one_place(key: dict[str, str]):
    with pytest.raises(ConfigurationError, match="key_env or key_file"):
        check_auth(_section(keys=[{"name": "a", **key}]))


async def test_a_chain_is_made_of_it(tmp_path: Path):
    section = _issuer()
    keys = read_keys(_section(keys=[{"name": "a", "key_env": "A"}]), {"A": "text"}, tmp_path)

    chain = make_chain(tmp_path, configured=keys, issuers=section.issuers)

    assert (await chain.identify([(b"api-key", b"text")])).name == "a"
    await chain.aclose()
