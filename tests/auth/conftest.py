"""Authentication: issuers that really listen, and who believes them."""

from collections.abc import AsyncIterator

import pytest
from issuing import TestedIssuer, declared, issuing

from zaffre.auth.tokens import TokenVerifier


@pytest.fixture(scope="session")
async def lasting_issuer() -> AsyncIterator[TestedIssuer]:
    """One issuer for all tests that leave it as it is."""
    async with issuing() as issuer:
        yield issuer


@pytest.fixture
async def issuer() -> AsyncIterator[TestedIssuer]:
    """An issuer for one test."""
    async with issuing() as made:
        yield made


@pytest.fixture
async def verifier(lasting_issuer: TestedIssuer) -> AsyncIterator[TokenVerifier]:
    """Who believes the lasting issuer."""
    made = TokenVerifier([declared(lasting_issuer)])
    yield made
    await made.aclose()
