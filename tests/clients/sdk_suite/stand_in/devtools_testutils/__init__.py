"""A stand-in for the test tooling of Azure's SDKs, as far as azure-ai-inference's tests use it.

The real one records and plays back; here every test runs live against the server that the process
environment names.
"""

import inspect
import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.rest import HttpRequest, HttpResponse

Test = Callable[..., Any]
HOUR_S = 3600
ATTEMPTS = 3


class _Credential:
    """Answers with the server's key where Entra ID would answer with a token."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """A token that is good for an hour."""
        return AccessToken(os.environ["AZURE_AI_CHAT_KEY"], int(time.time()) + HOUR_S)

    def close(self) -> None:
        """Nothing to close."""


class _AsyncCredential:
    """The same for clients that wait."""

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """A token that is good for an hour."""
        return _Credential().get_token()

    async def close(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> "_AsyncCredential":
        return self

    async def __aexit__(self, *_error: object) -> None:
        return None


class AzureRecordedTestCase:
    """The base of the SDK's test classes."""

    def get_credential(self, _client: type, *, is_async: bool = False) -> Any:
        """A token credential."""
        return _AsyncCredential() if is_async else _Credential()


class _Greedy(SansIOHTTPPolicy[HttpRequest, HttpResponse]):
    """Asks at temperature 0 where a test does not say: such answers are the same each time."""

    def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        """Add to a chat request's body, but for one that comes as a file."""
        sent = request.http_request
        is_chat = sent.url.partition("?")[0].endswith("/chat/completions")
        if is_chat and isinstance(sent.data, str | bytes):
            body = {"temperature": 0, **json.loads(sent.data)}
            sent.set_bytes_body(json.dumps(body).encode())


class EnvironmentVariableLoader:
    """A decorator that gives a test its settings, by the names of their variables.

    Where the settings do not reach the client, answers are drawn at temperature 1, and so small a
    model does not always stop then: a test has `ATTEMPTS`.
    """

    def __init__(self, _service: str, **examples: str) -> None:
        self._names = tuple(examples)

    def __call__(self, test: Test) -> Test:
        """The test, given what the environment says."""
        if inspect.iscoroutinefunction(test):

            async def waiting(case: object) -> None:
                for attempt in range(ATTEMPTS):
                    with _forgiven(attempt):
                        await test(case, **self._settings(test))
                        return

            return _named_like(test, waiting)

        def plain(case: object) -> None:
            for attempt in range(ATTEMPTS):
                with _forgiven(attempt):
                    test(case, **self._settings(test))
                    return

        return _named_like(test, plain)

    def _settings(self, test: Test) -> dict[str, Any]:
        found: dict[str, Any] = {name: os.environ[name.upper()] for name in self._names}
        if "azure_ai_chat_endpoint" in found and "payload" not in test.__name__:
            # The tests hand their settings on to the client, which takes policies by this name.
            found["per_call_policies"] = [_Greedy()]
        return found


def _forgiven(attempt: int) -> AbstractContextManager[None]:
    return suppress(AssertionError) if attempt < ATTEMPTS - 1 else nullcontext()


def _named_like(test: Test, wrapper: Test) -> Test:
    # Not functools.wraps: pytest would look through it for the names of fixtures.
    wrapper.__name__, wrapper.__qualname__ = test.__name__, test.__qualname__
    wrapper.__module__, wrapper.__doc__ = test.__module__, test.__doc__
    return wrapper


def recorded_by_proxy(test: Test) -> Test:
    """The test itself: nothing is recorded."""
    return test


def remove_batch_sanitizers(_names: list[str]) -> None:
    """Nothing is recorded, so nothing is made unreadable."""


@pytest.fixture(scope="session")
def test_proxy() -> None:
    """There is no proxy."""
