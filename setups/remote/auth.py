"""Headers that prove who asks; secrets come from the environment and are never printed."""

import os
from collections.abc import Callable

Signing = Callable[[str, str, bytes, dict[str, str]], dict[str, str]]


def signing(kind: str, region: str, service: str) -> Signing:
    """A function of method, URL, body and headers that gives the headers to add. Raises SystemExit with a sentence that
    names the variable which is not set."""
    if kind == "none":
        return lambda _method, _url, _body, _headers: {}
    if kind == "bearer":
        token = _secret("TAILRACE_REMOTE_TOKEN")
        return lambda _method, _url, _body, _headers: {"Authorization": f"Bearer {token}"}
    if kind == "sigv4":
        return _sigv4(region, service)
    raise SystemExit(f"knob auth: '{kind}' is not known; none, bearer or sigv4")


def _sigv4(region: str, service: str) -> Signing:
    from botocore.auth import SigV4Auth  # noqa: PLC0415  half a second, and only for those who need it
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    signer = SigV4Auth(Credentials(_secret("AWS_ACCESS_KEY_ID"), _secret("AWS_SECRET_ACCESS_KEY"),
                                   os.environ.get("AWS_SESSION_TOKEN") or None), service, region)

    def signed(method: str, url: str, body: bytes, headers: dict[str, str]) -> dict[str, str]:
        request = AWSRequest(method, url, headers=headers, data=body)
        signer.add_auth(request)
        return {name: value for name, value in request.headers.items() if name not in headers}

    return signed


def _secret(name: str) -> str:
    value = os.environ.get(name, "")
    if not value or not value.isprintable():
        raise SystemExit(f"${name} is not set (or holds what cannot stand in a header); export it before the run")
    return value
