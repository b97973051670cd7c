"""The chat page: the static files of `app/web`, read once, served under a strict policy."""

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from fastapi.responses import Response

INDEX = "index.html"
MEDIA_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
}
# Scripts, styles and calls of this origin only: text from a document or a model that becomes
# markup by mistake can neither run nor send anything anywhere.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Cache-Control": "no-cache",  # may be kept, but asks with its ETag whether it is still right
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


def page_router(folder: Traversable | None = None) -> APIRouter:
    """One route per file of the folder (by default `app/web`); `index.html` is `/`."""
    router = APIRouter(include_in_schema=False)
    for file in (folder or files("app") / "web").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in MEDIA_TYPES:
            path = "/" if file.name == INDEX else f"/{file.name}"
            _serve(router, path, file.read_bytes(), MEDIA_TYPES[kind])
    return router


def _serve(router: APIRouter, path: str, content: bytes, media_type: str) -> None:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": etag}

    @router.api_route(path, methods=["GET", "HEAD"])
    async def static(request: Request) -> Response:
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)
