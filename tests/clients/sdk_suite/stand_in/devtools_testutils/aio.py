"""The part of the stand-in that the SDK's asynchronous tests import."""

from devtools_testutils import recorded_by_proxy

recorded_by_proxy_async = recorded_by_proxy
