"""GET /: the page for people, and the few files it is made of (`gateway/page/`).

They are read once, at start, and are served with a policy that lets the page load and ask nothing
but this service. What the page shows comes from the same endpoints that clients use.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import PurePath

from flask import Blueprint, Response, request

from embark.errors import ConfigurationError, NotFound

_ENTRY = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' blob:{images}; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked again each time, answered 304: a new version of the service is seen at once.
    "Cache-Control": "no-cache",
}


def routes() -> Blueprint:
    """Return the endpoints.

    Raises:
        ConfigurationError: the installation lacks the page's files.
    """
    blueprint = Blueprint("page", __name__)
    files = _load()

    @blueprint.get("/")
    def page() -> Response:
        # Other sites' images are a person's own choice, so the browser refuses them until then.
        remote = request.args.get("images") == "remote"
        policy = _POLICY.format(images=" https:" if remote else "")
        return _send(_ENTRY, files[_ENTRY], policy)

    @blueprint.get("/page/<name>")
    def part(name: str) -> Response:
        if name not in files:
            raise NotFound(f"the page has no file {name!r}")
        return _send(name, files[name], _POLICY.format(images=""))

    return blueprint


def _load() -> dict[str, bytes]:
    folder = resources.files("gateway") / "page"
    if not (folder / _ENTRY).is_file():
        raise ConfigurationError(f"{folder} lacks {_ENTRY}; install embark again")
    return {
        one.name: one.read_bytes()
        for one in folder.iterdir()
        if PurePath(one.name).suffix in _TYPES
    }


def _send(name: str, content: bytes, policy: str) -> Response:
    response = Response(content, content_type=_TYPES[PurePath(name).suffix], headers=_HEADERS)
    response.headers["Content-Security-Policy"] = policy
    response.set_etag(hashlib.sha256(content + policy.encode()).hexdigest()[:32])
    response.make_conditional(request)
    return response
