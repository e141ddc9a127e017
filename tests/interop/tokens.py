"""Access tokens that a server can check by itself."""

from __future__ import annotations

import base64
import hmac
import json
import time


def web_token(key: bytes, login: str, *, expires_in: float = 3600, padding: int = 0) -> str:
    """An OAuth 2.0 access token for the user: a JSON Web Token (RFC 7519), signed with the key.

    ``expires_in``: seconds; ``padding``: octets by which it is longer than it need be.
    """
    now = time.time()
    claims = {"sub": login, "scope": "mail", "iat": int(now) - 60, "exp": int(now + expires_in), "jti": "x" * padding}
    signed = f"{_base64url_json({'alg': 'HS256', 'typ': 'JWT'})}.{_base64url_json(claims)}"
    return f"{signed}.{_base64url(hmac.digest(key, signed.encode(), 'sha256'))}"


def _base64url(octets: bytes) -> str:
    """RFC 7515 appendix C."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _base64url_json(value: object) -> str:
    return _base64url(json.dumps(value).encode())
