"""What a probe is given beside the library."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY = "authority.pem"
SERVER = "server.pem"


class Scene(NamedTuple):
    """Certificates, and the tools of the environment that the comparison was started in."""

    folder: Path
    python: str
    """The interpreter that has mypy."""

    @property
    def server_context(self) -> ssl.SSLContext:
        """For 127.0.0.1, by an authority that no client trusts without being told."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / SERVER)
        return context

    @property
    def client_context(self) -> ssl.SSLContext:
        """Trusts that authority."""
        return ssl.create_default_context(cafile=str(self.folder / AUTHORITY))


def make_certificates(folder: Path) -> None:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / AUTHORITY))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / SERVER))
