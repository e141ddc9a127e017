"""Real mail transfer agents that hand on, through another server, what is submitted to them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.interop.exim import Relay, running_exim
from tests.interop.postfix import (
    DOVECOT_SASL,
    MECHANISMS,
    PACKAGES,
    check_dovecot,
    find_postfix,
    running_dovecot,
    running_master,
)
from tests.interop.servers import USER, find_program, open_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager

    from tests.interop.servers import RunningServer

SMARTHOST = "smarthost.example.test"
"""The name of the other server: it must not be theirs."""

POSTFIX_RELAY = """
transport_maps = inline:{{ {{ elsewhere.test = smtp:[localhost]:{relay.port} }} }}
smtp_host_lookup = native
smtp_tls_security_level = verify
smtp_tls_verify_cert_match = hostname
smtp_tls_CAfile = {relay.ca}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = static:{login.login}:{login.password}
smtp_sasl_tls_security_options = noanonymous
queue_run_delay = 1s
# After a second it can find the message still locked, and then lets it lie for minutes.
minimal_backoff_time = 2s
maximal_backoff_time = 2s"""


@contextmanager
def relaying_postfix(relay: Relay) -> Generator[RunningServer]:
    postfix, dovecot = find_postfix(), find_program("dovecot", PACKAGES)
    check_dovecot(dovecot)
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("relaying"))
        stack.enter_context(running_dovecot(dovecot, folder / "dovecot"))
        lines = DOVECOT_SASL.format(folder=folder) + POSTFIX_RELAY.format(relay=relay, login=USER)
        yield stack.enter_context(running_master(postfix, folder, "postfix", lines, MECHANISMS))


AGENTS: Mapping[str, Callable[[Relay], AbstractContextManager[RunningServer]]] = {
    "postfix": relaying_postfix,
    "exim": running_exim,
}
