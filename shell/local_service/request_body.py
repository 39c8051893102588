"""Request bodies: read whole, never more than MAX_BODY bytes, decompressed if they were compressed with zstd."""

from starlette.requests import Request

from shell.local_service.errors import RefusedError

MAX_BODY = 256 * 2**20


async def read_body(request: Request) -> bytes:
    """The decoded body of a request.

    Raises:
        RefusedError: 413 for too large, also once decompressed; 415 for an unknown encoding; 400 for corrupt.
    """
    if int(request.headers.get("content-length", 0)) > MAX_BODY:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _too_large()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return bytes(body)
    if encoding == "zstd":
        return _decompress(bytes(body))
    raise RefusedError(415, f"expected Content-Encoding zstd or none, got {encoding[:50]!r}")


def _decompress(body: bytes) -> bytes:
    import zstandard  # the SDK's own dependency

    decompressor = zstandard.ZstdDecompressor().decompressobj()
    out = bytearray()
    try:
        for start in range(0, len(body), 2**16):
            out += decompressor.decompress(body[start : start + 2**16])
            if len(out) > MAX_BODY:
                raise _too_large()
    except zstandard.ZstdError:
        raise RefusedError(400, "expected a zstd frame, got bytes that are none") from None
    if not decompressor.eof:
        raise RefusedError(400, "expected a whole zstd frame, got a part of one")
    return bytes(out)


def _too_large() -> RefusedError:
    return RefusedError(413, f"expected a body of at most {MAX_BODY // 2**20} MB, got more")
