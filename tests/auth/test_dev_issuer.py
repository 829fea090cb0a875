"""The development issuer: what programs ask it for, and what it refuses."""

import base64
from typing import Any

import aiohttp
import pytest
from issuing import AUDIENCE, CLIENT, TENANT, TestedIssuer

from zaffre.auth.tokens import TokenVerifier

GRANT = {
    "grant_type": "client_credentials",
    "client_id": CLIENT.id,
    "client_secret": CLIENT.secret,
    "scope": f"{AUDIENCE}/.default",
}


async def _post(
    issuer: TestedIssuer, path: str, form: dict[str, str], **headers: str
) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{issuer.base_url}/{path}", data=form, headers=headers) as answer,
    ):
        return answer.status, await answer.json()


async def test_a_client_gets_a_token_with_its_roles(
    lasting_issuer: TestedIssuer, verifier: TokenVerifier
):
    status, answer = await _post(lasting_issuer, f"{TENANT}/oauth2/v2.0/token", GRANT)

    assert status == 200
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    found = await verifier.find(answer["access_token"])
    assert found is not None
    assert (found.name, found.permissions) == (CLIENT.id, {"call"})


async def test_a_client_may_show_itself_in_a_header(lasting_issuer: TestedIssuer):
    basic = base64.b64encode(f"{CLIENT.id}:{CLIENT.secret}".encode()).decode()
    form = {"grant_type": "client_credentials"}
    status, _ = await _post(
        lasting_issuer, f"{TENANT}/oauth2/v2.0/token", form, authorization=f"Basic {basic}"
    )
    assert status == 200


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_secret": "wr\xf6ng"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"scope": "/.default"}, 400, "invalid_scope"),
        ({"scope": "x" * 70_000}, 400, "invalid_request"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_refusals_have_the_words_of_oauth(
    lasting_issuer: TestedIssuer, changes: dict[str, str], status: int, code: str
):
    form = {**GRANT, **changes}
    found, answer = await _post(lasting_issuer, f"{TENANT}/oauth2/v2.0/token", form)
    assert (found, answer["error"]) == (status, code)


async def test_anybody_gets_any_claims(lasting_issuer: TestedIssuer, verifier: TokenVerifier):
    form = {"sub": "me", "roles": "call,other", "claims": '{"azp": "my-app"}'}

    status, answer = await _post(lasting_issuer, f"{TENANT}/token", form)

    assert status == 200
    found = await verifier.find(answer["access_token"])
    assert found is not None
    assert (found.id, found.name) == ("test:me", "my-app")
    status, answer = await _post(lasting_issuer, f"{TENANT}/token", {"claims": "[]"})
    assert (status, answer["error"]) == (400, "invalid_request")


async def test_another_tenants_token_is_another_tenants(
    lasting_issuer: TestedIssuer, verifier: TokenVerifier
):
    _, answer = await _post(lasting_issuer, "fabrikam/token", {"roles": "call"})
    assert await verifier.find(answer["access_token"]) is None


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "evil", ""])
async def test_a_page_under_another_name_gets_nothing(lasting_issuer: TestedIssuer, host: str):
    status, answer = await _post(lasting_issuer, f"{TENANT}/token", {"sub": "me"}, host=host)
    assert (status, answer["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "path", ["", "token", f"{TENANT}/oauth2/token", "a/b/v2.0/token", "%2e/token"]
)
async def test_elsewhere_is_nothing(lasting_issuer: TestedIssuer, path: str):
    status, answer = await _post(lasting_issuer, path, GRANT)
    assert (status, answer["error"]) == (404, "not_found")
