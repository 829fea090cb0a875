"""Launcher: what a worker gets of the gateway's environment."""

import pytest

from zaffre.registry.launcher import _passed_on


@pytest.mark.parametrize(
    "name",
    ["ZAFFRE_KEY", "OPENAI_API_KEY", "HF_TOKEN", "db_password", "ZAFFRE_LEDGER_URL", "MY_SECRET"],
)
def test_what_is_likely_a_secret_stays_with_the_gateway(name: str):
    assert _passed_on({name: "x", "PATH": "/bin", "LANG": "C"}) == {"PATH": "/bin", "LANG": "C"}


def test_what_engines_need_is_passed_on():
    environ = {
        "HOME": "/h",
        "LD_LIBRARY_PATH": "/l",
        "OMP_NUM_THREADS": "2",
        "TOKENIZERS_PARALLELISM": "0",
        "ZAFFRE_HOME": "/z",
    }
    assert _passed_on(environ) == environ
