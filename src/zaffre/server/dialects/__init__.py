"""One module per vendor's URLs, headers and JSON. Dialects do not know each other."""
