"""Frameworks: tests that run in their group's own environment, and nowhere else.

`tests/clients/test_frameworks.py` makes the environments and runs each group there, with the server
in the process environment. Without it there is nothing to collect.
"""

import os

collect_ignore_glob = [] if "ZAFFRE_TEST_ENDPOINT" in os.environ else ["test_*.py"]
