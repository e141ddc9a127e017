"""A sans-I/O SMTP engine: a pure state machine for both ends of an SMTP connection."""

from __future__ import annotations

from .addresses import (
    AddressLiteral,
    Mailbox,
)
from .authenticate import (
    Authenticator,
)
from .client import (
    ClientConnection,
)
from .commands import (
    Auth,
    AuthResponse,
    Bdat,
    Burl,
    Command,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    UnknownCommand,
    Vrfy,
    XClient,
    XForward,
)
from .connect import (
    Connected,
    Connector,
)
from .connection import (
    Connection,
    Role,
)
from .content import (
    LineEnds,
)
from .delivery import (
    DeliveryFailed,
    DeliveryResult,
    Fate,
    RecipientResult,
)
from .envelope import (
    Envelope,
)
from .errors import (
    ErrorCode,
    LocalProtocolError,
    NotTls,
    ProtocolError,
    RemoteProtocolError,
    SmtpError,
    TransportError,
)
from .events import (
    NEED_DATA,
    PAUSED,
    AuthChallenge,
    AuthFailed,
    AuthNeeded,
    AuthReason,
    AuthSucceeded,
    BadCommand,
    CommandReceived,
    ConnectionClosed,
    ContentReceived,
    ContentWanted,
    EarlyTalker,
    EhloReply,
    Event,
    Greeting,
    HeloReply,
    Pause,
    RecipientReply,
    ReplyReceived,
    ServiceClosing,
    StartTlsReady,
    Unsolicited,
)
from .extensions import (
    EXTENSIONS,
    Extension,
    Extensions,
)
from .failures import (
    AuthenticationFailed,
    ConnectFailed,
    Stage,
)
from .limits import (
    Limits,
    Timeouts,
)
from .options import (
    ConnectOptions,
    Option,
    Security,
    Target,
)
from .replies import (
    EnhancedStatus,
    Reply,
)
from .sasl import (
    ClientMechanism,
    Credentials,
    Identity,
    Question,
    ScramCredential,
    ServerMechanism,
    Verify,
)
from .server import (
    ServerConnection,
)
from .server_auth import (
    ServerAuth,
)
from .service import (
    Service,
    ServiceSession,
)
from .states import (
    LMTP_TRANSITIONS,
    TRANSITIONS,
    State,
)

__version__ = "0.1.0"

__all__ = [
    "EXTENSIONS",
    "LMTP_TRANSITIONS",
    "NEED_DATA",
    "PAUSED",
    "TRANSITIONS",
    "AddressLiteral",
    "Auth",
    "AuthChallenge",
    "AuthFailed",
    "AuthNeeded",
    "AuthReason",
    "AuthResponse",
    "AuthSucceeded",
    "AuthenticationFailed",
    "Authenticator",
    "BadCommand",
    "Bdat",
    "Burl",
    "ClientConnection",
    "ClientMechanism",
    "Command",
    "CommandReceived",
    "Connect",
    "ConnectFailed",
    "ConnectOptions",
    "Connected",
    "Connection",
    "ConnectionClosed",
    "Connector",
    "ContentReceived",
    "ContentWanted",
    "Credentials",
    "Data",
    "DeliveryFailed",
    "DeliveryResult",
    "EarlyTalker",
    "Ehlo",
    "EhloReply",
    "EndOfData",
    "EnhancedStatus",
    "Envelope",
    "ErrorCode",
    "Etrn",
    "Event",
    "Expn",
    "Extension",
    "Extensions",
    "Fate",
    "Greeting",
    "Helo",
    "HeloReply",
    "Help",
    "Identity",
    "Lhlo",
    "Limits",
    "LineEnds",
    "LocalProtocolError",
    "Mail",
    "Mailbox",
    "Noop",
    "NotTls",
    "Option",
    "Pause",
    "ProtocolError",
    "Question",
    "Quit",
    "Rcpt",
    "RecipientReply",
    "RecipientResult",
    "RemoteProtocolError",
    "Reply",
    "ReplyReceived",
    "Role",
    "Rset",
    "ScramCredential",
    "Security",
    "ServerAuth",
    "ServerConnection",
    "ServerMechanism",
    "Service",
    "ServiceClosing",
    "ServiceSession",
    "SmtpError",
    "Stage",
    "StartTls",
    "StartTlsReady",
    "State",
    "Target",
    "Timeouts",
    "TransportError",
    "UnknownCommand",
    "Unsolicited",
    "Verify",
    "Vrfy",
    "XClient",
    "XForward",
]
