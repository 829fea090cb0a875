"""What kind of image some bytes are: other people's servers want to be told."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)


def media_type(content: bytes) -> str:
    """The media type of an image file; PNG where the bytes do not tell."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    found = (kind for signature, kind in _SIGNATURES if content.startswith(signature))
    return next(found, "image/png")
