"""The synchronous client, generated from `zaffre.client.asynchronous`: edit that one."""
