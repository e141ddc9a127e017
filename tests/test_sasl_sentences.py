"""What the mechanisms say when something is wrong: what is done, and the whole sentence.  Errors are for people.

Everything is made within the tests, and nothing while they are collected.
"""

from __future__ import annotations

import binascii
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from smtpproto.errors import ErrorCode, LocalProtocolError
from smtpproto.sasl import (
    AnonymousClient,
    AnonymousServer,
    AuthenticationRefused,
    Challenge,
    CramMd5Client,
    CramMd5Server,
    Credentials,
    ExternalClient,
    ExternalServer,
    LoginClient,
    LoginServer,
    MechanismError,
    OAuthBearerClient,
    OAuthBearerServer,
    PlainClient,
    PlainServer,
    Prohibited,
    SaslError,
    ScramClient,
    ScramCredential,
    ScramServer,
    ServerAnswer,
    ServerNotAuthentic,
    XOAuth2Client,
    XOAuth2Server,
    bound,
    choose,
    saslprep,
)
from smtpproto.sasl.prep import traceprep
from smtpproto.sasl.scram_messages import terms_of
from tests.sasl_peers import Answering, Scram, base64, conversation

if TYPE_CHECKING:
    from smtpproto.sasl import Choice, ClientMechanism, ServerMechanism

PASSWORD = "pass-Wörd 1"
TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
WRONG: Any = b"mx.example"
BINDINGS = {"tls-exporter": b"exported"}

OCTETS = "is of type bytes: it must be a str"
LONE = "holds NUL or a lone surrogate: no mechanism can send that"
NO_TEXT = "holds NUL or is not UTF-8"
CONTROL = "it holds a control character, or another that SASLprep does not allow"
MIXED = "it mixes what is written from the right with what is written from the left"
ENDS = "it is written from the right, and begins or ends with a character that is not"
LATER = "it holds a character that Unicode 3.2 did not know, which SASLprep allows in no password"
NOTHING_LEFT = "nothing of it is left by SASLprep (RFC 4013)"
TOKEN_WRONG = "the token is empty, or holds more than visible ASCII characters: is it a line's end?"
NO_PASSWORD = "the password is empty: no mechanism can send that; leave it out"
NO_USERNAME = "the username is empty, but there is a password: give both"
HASHES = "there are SHA-1, SHA-256, SHA-512"
NO_SCRAM = "is no SCRAM mechanism: SCRAM-SHA-256, SCRAM-SHA-256-PLUS and kin"
NOT_STORED = "that is no stored SCRAM credential: SCRAM-SHA-256$iterations:salt$key:key"
TO_QUOTE = "it must be visible ASCII without quotes and backslashes"
OUT_OF_BOUNDS = "they must be at least 4096, and at most 2147483647"
SALT_OR_ITERATIONS = "a salt has 1 to 64 octets here, and the iterations are at least 4096, and at most 2147483647"
MORE_OR_LESS = "it must be at least 4096, for which every server asks, and at most 2147483647"
OFFERABLE = (
    "SCRAM-SHA-512-PLUS, SCRAM-SHA-256-PLUS, SCRAM-SHA-1-PLUS, SCRAM-SHA-512, SCRAM-SHA-256, SCRAM-SHA-1, EXTERNAL, "
    "OAUTHBEARER, XOAUTH2, CRAM-MD5, PLAIN, LOGIN, ANONYMOUS"
)


Maker = Callable[[str], bytes]
"""What a client says to a challenge."""


def saying(*said: bytes) -> tuple[Maker, ...]:
    def to_anything(octets: bytes) -> Maker:
        return lambda _: octets

    return tuple(map(to_anything, said))


# --- what the program gives ------------------------------------------------------------------------------------------


def derived(password: str = PASSWORD, iterations: int = 4096, **others: Any) -> ScramCredential:
    return ScramCredential.derive(password, iterations=iterations, **others)


def scram(username: str = "tim", password: str = PASSWORD, acting: str = "", **options: Any) -> ScramClient:
    return ScramClient(username, password, acting, **options)


def program_says(server: ServerMechanism, answer: Any, *responses: bytes) -> object:
    return conversation(server, Answering(answer), *saying(*responses))


def of_the_credential(answer: Any) -> object:
    return program_says(ScramServer(), answer, b"n,,n=tim,r=abc")


def to_a_challenge(answer: Any) -> object:
    exchange = PlainServer().exchange()
    next(exchange)
    return exchange.send(answer)


GIVEN: list[tuple[Callable[[], object], str]] = [
    # credentials
    (lambda: Credentials(WRONG), f"the username {OCTETS}"),
    (lambda: Credentials("a\0"), f"the username {LONE}"),
    (lambda: Credentials("tim", WRONG), f"the password {OCTETS}"),
    (lambda: Credentials("tim", "\ud800"), f"the password {LONE}"),
    (lambda: Credentials("tim", authorization_id=WRONG), f"the authorization identity {OCTETS}"),
    (lambda: Credentials("tim", authorization_id="\0"), f"the authorization identity {LONE}"),
    (lambda: Credentials("tim", token=WRONG), f"the token {OCTETS}"),
    (lambda: Credentials("tim", token="\0"), f"the token {LONE}"),
    (lambda: Credentials("tim", token=""), TOKEN_WRONG),
    (lambda: Credentials("tim", token="a b"), TOKEN_WRONG),
    (lambda: Credentials("tim", ""), NO_PASSWORD),
    (lambda: Credentials("", PASSWORD), NO_USERNAME),
    # the mechanisms that say them as they are
    (lambda: PlainClient("tim", ""), NO_PASSWORD),
    (lambda: PlainClient("", PASSWORD), NO_USERNAME),
    (lambda: PlainClient("tim", PASSWORD, "\0"), f"the authorization identity {LONE}"),
    (lambda: LoginClient("tim", ""), NO_PASSWORD),
    (lambda: LoginClient("", PASSWORD), NO_USERNAME),
    (lambda: CramMd5Client("tim", ""), NO_PASSWORD),
    (lambda: CramMd5Client("", PASSWORD), NO_USERNAME),
    (lambda: CramMd5Server(WRONG), f"the host name {OCTETS}"),
    (lambda: CramMd5Server("\0"), f"the host name {LONE}"),
    (lambda: CramMd5Server("a b"), "the host name 'a b' cannot stand in a challenge"),
    (lambda: ExternalClient(WRONG), f"the authorization identity {OCTETS}"),
    (lambda: AnonymousClient(WRONG), f"the trace {OCTETS}"),
    (lambda: AnonymousClient("\0"), f"the trace {LONE}"),
    (lambda: AnonymousClient("x" * 256), "the trace has more than 255 characters"),
    (lambda: AnonymousClient("\a"), f"the trace cannot be sent: {CONTROL}"),
    (lambda: AnonymousClient("aמ"), f"the trace cannot be sent: {MIXED}"),
    (lambda: AnonymousClient("1מ"), f"the trace cannot be sent: {ENDS}"),
    (lambda: AnonymousClient("tim@"), "the trace has an @, and is no mail address"),
    # tokens
    (lambda: OAuthBearerClient(""), TOKEN_WRONG),
    (lambda: next(OAuthBearerClient(lambda: WRONG).exchange()), f"the token {OCTETS}"),
    (lambda: OAuthBearerClient(TOKEN, host=WRONG), f"the host {OCTETS}"),
    (
        lambda: OAuthBearerClient(TOKEN, host="müller.example"),
        "the host holds more than visible ASCII characters: give the A-labels of the domain",
    ),
    (lambda: OAuthBearerClient(TOKEN, WRONG), f"the authorization identity {OCTETS}"),
    (
        lambda: OAuthBearerClient(TOKEN, "a\x01"),
        "the authorization identity holds ^A, with which OAUTHBEARER ends its fields",
    ),
    (lambda: OAuthBearerClient(TOKEN, port=0), "the port is no number from 1 to 65535"),
    (lambda: OAuthBearerServer(scope=WRONG), f"scope {OCTETS}"),
    (lambda: OAuthBearerServer(scope='a"'), f"scope is 'a\"': {TO_QUOTE}"),
    (lambda: OAuthBearerServer(openid_configuration="é"), f"openid-configuration is 'é': {TO_QUOTE}"),
    (lambda: XOAuth2Client(WRONG, TOKEN), f"the username {OCTETS}"),
    (lambda: XOAuth2Client("", TOKEN), "the username is empty or holds ^A, with which XOAUTH2 ends its fields"),
    (lambda: XOAuth2Client("a\x01", TOKEN), "the username is empty or holds ^A, with which XOAUTH2 ends its fields"),
    (lambda: XOAuth2Client("tim", "a b"), TOKEN_WRONG),
    (lambda: XOAuth2Server(scope="\\"), f"scope is '\\\\': {TO_QUOTE}"),
    # SCRAM
    (lambda: scram(""), NO_USERNAME),
    (lambda: scram(password=""), NO_PASSWORD),
    (lambda: scram(WRONG), f"the username {OCTETS}"),
    (lambda: scram(password=WRONG), f"the password {OCTETS}"),
    (lambda: scram(acting=WRONG), f"the authorization identity {OCTETS}"),
    (lambda: scram(acting="\0"), f"the authorization identity {LONE}"),
    (lambda: scram("\a"), f"the username cannot be used with SCRAM: {CONTROL} (RFC 4013)"),
    (lambda: scram("\u00ad"), f"the username cannot be used with SCRAM: {NOTHING_LEFT}"),
    (lambda: scram(acting="\a"), f"the authorization identity cannot be used with SCRAM: {CONTROL} (RFC 4013)"),
    (lambda: scram(acting="\u00ad"), f"the authorization identity cannot be used with SCRAM: {NOTHING_LEFT}"),
    (lambda: scram(password="\a"), f"the password cannot be used with SCRAM: {CONTROL} (RFC 4013)"),
    (lambda: scram(password="\u00ad"), f"the password cannot be used with SCRAM: {NOTHING_LEFT}"),
    (lambda: scram(password="\N{CHRISTMAS TREE}"), f"the password cannot be used with SCRAM: {LATER} (RFC 4013)"),
    (lambda: scram(name="PLAIN"), f"'PLAIN' {NO_SCRAM}"),
    (lambda: scram(name="SCRAM-MD5"), f"no SCRAM hash function is named 'MD5': {HASHES}"),
    (lambda: ScramClient.suiting(Credentials(), "PLAIN"), f"'PLAIN' {NO_SCRAM}"),
    (lambda: scram(max_iterations=4095), f"max_iterations is 4095: {MORE_OR_LESS}"),
    (lambda: scram(max_iterations=2**31), f"max_iterations is 2147483648: {MORE_OR_LESS}"),
    (
        lambda: next(scram(name="SCRAM-SHA-1-PLUS").exchange()),
        "SCRAM-SHA-1-PLUS needs a channel binding, and there is none on this connection",
    ),
    (lambda: ScramServer("PLAIN"), f"'PLAIN' {NO_SCRAM}"),
    (
        lambda: ScramServer(salt_length=65),
        f"salt_length=65, iterations=15000: {SALT_OR_ITERATIONS}",
    ),
    (
        lambda: ScramServer(iterations=4095),
        f"salt_length=16, iterations=4095: {SALT_OR_ITERATIONS}",
    ),
    (lambda: ScramServer(secret=b""), "the secret for the salts must have at least 16 octets, all by chance"),
    (lambda: derived("\0"), f"the password {LONE}"),
    (lambda: derived(WRONG), f"the password {OCTETS}"),
    (lambda: derived(hash="sha256"), f"no SCRAM hash function is named 'sha256': {HASHES}"),
    (lambda: derived(salt=b""), "the salt is empty: each user needs one of their own (16 octets by chance)"),
    (lambda: derived(iterations=4095), f"the iterations are 4095: {OUT_OF_BOUNDS}"),
    (lambda: derived(iterations=2**31), f"the iterations are 2147483648: {OUT_OF_BOUNDS}"),
    (
        lambda: ScramCredential("SHA-1", b"salt", 4096, bytes(20), bytes(21)),
        "a key of the credential has not the 20 octets of SHA-1",
    ),
    (
        lambda: ScramCredential("SHA-1", b"", 4096, bytes(20), bytes(20)),
        "the salt is empty: each user needs one of their own (16 octets by chance)",
    ),
    (lambda: ScramCredential.parse(""), NOT_STORED),
    (lambda: ScramCredential.parse(f"SCRAM-SHA-1$4096:c2FsdA${'A' * 27}=:{'A' * 27}="), NOT_STORED),
    # the choice
    (lambda: chosen(mechanisms="PLAIN"), "mechanisms is a str: give a list of names"),
    (lambda: chosen(mechanisms=["SCRAM"]), f"no mechanism is named 'SCRAM': there are {OFFERABLE}"),
    (
        lambda: chosen(mechanisms=[b"PLAIN"]),
        "mechanisms has a bytes: it must be a name, or a mechanism with name and exchange()",
    ),
    (
        lambda: bound(scram(), {"tls-exporter": b""}, []),
        "the channel binding 'tls-exporter' is empty, or has a name that cannot be one",
    ),
    (lambda: bound(scram(), {"a b": b"x"}, []), "the channel binding 'a b' is empty, or has a name that cannot be one"),
    # answers
    (lambda: to_a_challenge(True), "a Challenge was answered with bool: it must be bytes"),
    (
        lambda: program_says(PlainServer(), None, b"\0tim\0x"),
        "Verify was answered with NoneType: it must be True or False",
    ),
    (lambda: program_says(ExternalServer(), 1, b""), "VerifyExternal was answered with int: it must be str or None"),
    (lambda: program_says(AnonymousServer(), 1, b""), "VerifyAnonymous was answered with int: it must be bool or None"),
    (
        lambda: program_says(CramMd5Server(), b"x", b"tim " + b"0" * 32),
        "FindPassword was answered with bytes: it must be str or None",
    ),
    (
        lambda: program_says(CramMd5Server(), "x\0", b"tim " + b"0" * 32),
        f"the answer to FindPassword {LONE}",
    ),
    (
        lambda: of_the_credential(True),
        "FindCredential was answered with bool: it must be ScramCredential, str or None",
    ),
    (
        lambda: of_the_credential(derived(hash="SHA-1")),
        "the credential found is for SHA-1, and SHA-256 was asked for",
    ),
]


@pytest.mark.parametrize(("do", "sentence"), GIVEN)
def test_what_the_program_is_told(do: Callable[[], object], sentence: str) -> None:
    with pytest.raises(LocalProtocolError) as error:
        do()
    assert str(error.value) == sentence


# --- what a server says ----------------------------------------------------------------------------------------------


def hears(client: ClientMechanism, *said: Challenge | None) -> None:
    exchange = client.exchange()
    next(exchange)
    for challenge in said:
        exchange.send(challenge)


def hears_terms(said: str) -> None:
    """SCRAM, behind the client's nonce."""
    terms_of(f"r=abc{said}", "abc", 5000)


def hears_a_verdict(said: bytes | None) -> None:
    exchange = scram().exchange()
    nonce = (next(exchange) or b"").decode().partition("r=")[2]
    exchange.send(Challenge(f"r={nonce}x,s=c2FsdA==,i=4096".encode()))
    exchange.send(None if said is None else Challenge(said))


def early(name: str) -> str:
    return f"the server reported success before the {name} exchange was complete"


NOT_OURS = "the server's nonce is not ours with something behind it"
NO_ATTRIBUTE = "a message of SCRAM has a field that is no attribute"
NO_EXTENSION = "the peer wants an extension of SCRAM that is not known here"
LIE = "the server reported an error, and success after it"

HEARD: list[tuple[Callable[[], object], type[MechanismError], str]] = [
    (lambda: hears(LoginClient("tim", PASSWORD), None), ServerNotAuthentic, early("LOGIN")),
    (lambda: hears(CramMd5Client("tim", PASSWORD), None), ServerNotAuthentic, early("CRAM-MD5")),
    (
        lambda: hears(CramMd5Client("tim", PASSWORD), Challenge(b"")),
        MechanismError,
        "the challenge of CRAM-MD5 is empty or no base64",
    ),
    (lambda: hears(OAuthBearerClient(TOKEN), Challenge(b"{}"), None), MechanismError, LIE),
    (lambda: hears(XOAuth2Client("tim", TOKEN), Challenge(b"{}"), None), MechanismError, LIE),
    (lambda: hears(scram(), None), ServerNotAuthentic, early("SCRAM-SHA-256")),
    (lambda: hears(scram(), Challenge(b"e=other-error"), None), ServerNotAuthentic, LIE),
    (lambda: hears(scram(), Challenge(None, "?")), MechanismError, "a challenge of SCRAM-SHA-256 is no base64"),
    (lambda: hears(scram(), Challenge(b"\xff")), MechanismError, f"the challenge {NO_TEXT}"),
    (lambda: hears_terms(""), MechanismError, "a message of SCRAM has not the attributes r, s, i"),
    (lambda: hears_terms(",i=4096"), MechanismError, "a message of SCRAM has not the attributes r, s, i in this order"),
    (lambda: hears_terms(",s"), MechanismError, NO_ATTRIBUTE),
    (lambda: hears_terms(",m=x"), MechanismError, NO_EXTENSION),
    (lambda: hears_terms(",s=c2FsdA==,i=4096"), MechanismError, NOT_OURS),
    (lambda: hears_terms("x,s=c2FsdA==,i=x"), MechanismError, "the iteration count is no number"),
    (
        lambda: hears_terms("x,s=c2FsdA==,i=5001"),
        MechanismError,
        "the server wants more iterations than the 5000 that are allowed",
    ),
    (
        lambda: hears_terms("x,s=c2FsdA==,i=4095"),
        MechanismError,
        "the server wants fewer than 4096 iterations, which protects no password",
    ),
    (lambda: hears_terms("x,s=c2,i=4096"), MechanismError, "the salt is empty or no base64"),
    (lambda: hears_a_verdict(None), ServerNotAuthentic, early("SCRAM-SHA-256")),
    (
        lambda: hears_a_verdict(b"v=AAAA"),
        ServerNotAuthentic,
        "the server's signature is wrong: it does not know the password",
    ),
    (lambda: hears_a_verdict(b"w=x"), MechanismError, "a message of SCRAM has not the attributes v in this order"),
    (lambda: hears_a_verdict(b"v=AAAA\0"), MechanismError, f"the challenge {NO_TEXT}"),
]


@pytest.mark.parametrize(("do", "kind", "sentence"), HEARD)
def test_what_the_client_says_of_its_server(
    do: Callable[[], object], kind: type[MechanismError], sentence: str
) -> None:
    with pytest.raises(MechanismError) as error:
        do()
    assert str(error.value) == sentence
    assert type(error.value) is kind


# --- what a client says ----------------------------------------------------------------------------------------------


def scram_server(name: str = "SCRAM-SHA-256") -> ScramServer:
    """With a channel binding, and an offer of -PLUS; and quick."""
    server = ScramServer(name, iterations=4096).bound(BINDINGS, ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
    assert server is not None
    return server


def proving(header: str, without_proof: str, last: bytes = b"") -> tuple[Maker, ...]:
    """A client of SCRAM that knows the password; ``{r}`` is the nonce of both sides."""
    first = "n=tim,r=abc"

    def final(terms: str) -> bytes:
        nonce, salt, iterations = (field[2:] for field in terms.split(","))
        knowing = Scram("SHA-256", PASSWORD, binascii.a2b_base64(salt), int(iterations))
        return knowing.final(first, terms, without_proof.format(r=nonce)).encode()

    return (*saying(f"{header}{first}".encode()), final, *saying(last))


PLAIN_FIELDS = "a PLAIN message has three fields, with a NUL between each two of them"
CRAM_RESPONSE = "a CRAM-MD5 response is a name, a space and a digest of 32 hexadecimal digits"
XOAUTH2_FIELDS = "an XOAUTH2 message has a user and a bearer token, each with ^A behind it"
NO_HEADER = "the message does not begin with a GS2 header"
EMPTY_OR_EQUALS = "is empty, or has an equals sign that stands for nothing"
NOT_ALLOWED = "holds what SASLprep does not allow"
INVALID = "authentication credentials invalid"

TOLD: list[tuple[Callable[[], ServerMechanism], tuple[Maker, ...], ServerAnswer, type[SaslError], str]] = [
    (PlainServer, saying(b"tim"), True, MechanismError, PLAIN_FIELDS),
    (PlainServer, saying(b"\xff\0tim\0x"), True, MechanismError, f"the authorization identity {NO_TEXT}"),
    (PlainServer, saying(b"\0\0x"), True, MechanismError, "the username is empty"),
    (PlainServer, saying(b"\0\xff\0x"), True, MechanismError, f"the username {NO_TEXT}"),
    (PlainServer, saying(b"\0tim\0"), True, MechanismError, "the password is empty"),
    (PlainServer, saying(b"\0tim\0\xff"), True, MechanismError, f"the password {NO_TEXT}"),
    (PlainServer, saying(b"\0tim\0x"), False, AuthenticationRefused, INVALID),
    (LoginServer, saying(b""), True, MechanismError, "the username is empty"),
    (LoginServer, saying(b"\0"), True, MechanismError, f"the username {NO_TEXT}"),
    (LoginServer, saying(b"tim", b""), True, MechanismError, "the password is empty"),
    (LoginServer, saying(b"tim", b"\0"), True, MechanismError, f"the password {NO_TEXT}"),
    (CramMd5Server, saying(b"tim"), "x", MechanismError, CRAM_RESPONSE),
    (CramMd5Server, saying(b" " + b"0" * 32), "x", MechanismError, "the username is empty"),
    (CramMd5Server, saying(b"\0 " + b"0" * 32), "x", MechanismError, f"the username {NO_TEXT}"),
    (CramMd5Server, saying(b"tim " + b"0" * 32), "x", AuthenticationRefused, INVALID),
    (ExternalServer, saying(b"\0"), "tim", MechanismError, f"the authorization identity {NO_TEXT}"),
    (AnonymousServer, saying(b"\0"), True, MechanismError, f"the trace {NO_TEXT}"),
    (AnonymousServer, saying(b"@"), True, MechanismError, "the trace has an @, and is no mail address"),
    (OAuthBearerServer, saying(b"\xff"), "tim", MechanismError, f"the message {NO_TEXT}"),
    (OAuthBearerServer, saying(b"n"), "tim", MechanismError, NO_HEADER),
    (OAuthBearerServer, saying(b"n,a==,"), "tim", MechanismError, f"the authorization identity {EMPTY_OR_EQUALS}"),
    (OAuthBearerServer, saying(b"p=x,,\x01\x01"), "tim", MechanismError, "OAUTHBEARER has no channel binding"),
    (
        OAuthBearerServer,
        saying(b"n,,"),
        "tim",
        MechanismError,
        "the message has other fields than OAUTHBEARER allows",
    ),
    (OAuthBearerServer, saying(b"n,,\x01\x01"), "tim", MechanismError, "the message must have one field auth"),
    (XOAuth2Server, saying(b"\xff"), "tim", MechanismError, f"the message {NO_TEXT}"),
    (XOAuth2Server, saying(b"user=tim"), "tim", MechanismError, XOAUTH2_FIELDS),
    (ScramServer, saying(b"\xff"), None, MechanismError, f"the message {NO_TEXT}"),
    (ScramServer, saying(b"n"), None, MechanismError, NO_HEADER),
    (
        ScramServer,
        saying(b"p=tls-exporter,,n=tim,r=abc"),
        None,
        MechanismError,
        "the message is not one of SCRAM-SHA-256: its name says whether the channel is bound",
    ),
    (ScramServer, saying(b"n,a=\a,n=tim,r=abc"), None, MechanismError, f"the authorization identity {NOT_ALLOWED}"),
    (
        ScramServer,
        saying(b"n,a=\xc2\xad,n=tim,r=abc"),
        None,
        MechanismError,
        "the authorization identity is empty",
    ),
    (ScramServer, saying(b"n,,n=tim"), None, MechanismError, "a message of SCRAM has not the attributes n, r"),
    (ScramServer, saying(b"n,,n==,r=abc"), None, MechanismError, f"the username {EMPTY_OR_EQUALS}"),
    (ScramServer, saying(b"n,,n=\a,r=abc"), None, MechanismError, f"the username {NOT_ALLOWED}"),
    (ScramServer, saying(b"n,,n=\xc2\xad,r=abc"), None, MechanismError, "the username is empty"),
    (
        ScramServer,
        saying(b"n,,n=tim,r=\a"),
        None,
        MechanismError,
        "the nonce has characters that are not allowed in it",
    ),
    (ScramServer, saying(b"n,,n=tim,r=abc", b"\xff"), None, MechanismError, f"the message {NO_TEXT}"),
    (
        ScramServer,
        saying(b"n,,n=tim,r=abc", b"c=biws,r=abc"),
        None,
        MechanismError,
        "the message has no proof at its end",
    ),
    (ScramServer, saying(b"n,,n=tim,r=abc", b"c=x,r=x,p=="), None, MechanismError, "the proof is empty or no base64"),
    (
        lambda: ScramServer(iterations=4096),
        proving("n,,", "c=biws,r=abc"),
        None,
        MechanismError,
        "the nonce is not the one that was sent",
    ),
    (
        lambda: ScramServer(iterations=4096),
        proving("n,,", "c==,r={r}"),
        None,
        MechanismError,
        "the channel binding is empty or no base64",
    ),
    (
        lambda: ScramServer(iterations=4096),
        proving("n,,", "r={r},c=biws"),
        None,
        MechanismError,
        "a message of SCRAM has not the attributes c, r in this order",
    ),
    (lambda: ScramServer(iterations=4096), proving("n,,", "c=biws,r={r}"), None, AuthenticationRefused, INVALID),
    (
        lambda: ScramServer(iterations=4096),
        proving("n,,", "c=biws,r={r}", b"*"),
        PASSWORD,
        MechanismError,
        "the response to the signature is not empty",
    ),
    (
        scram_server,
        saying(b"y,,n=tim,r=abc", b""),
        PASSWORD,
        AuthenticationRefused,
        "-PLUS is offered here, but the client has not seen it: who is in between?",
    ),
    (
        lambda: scram_server("SCRAM-SHA-256-PLUS"),
        saying(b"p=tls-unique,,n=tim,r=abc", b""),
        PASSWORD,
        AuthenticationRefused,
        "there is no channel binding of that type here",
    ),
    (
        lambda: scram_server("SCRAM-SHA-256-PLUS"),
        proving("p=tls-exporter,,", f"c={base64(b'p=tls-exporter,,another')},r={{r}}"),
        PASSWORD,
        AuthenticationRefused,
        "the channel bindings of both sides differ",
    ),
]


@pytest.mark.parametrize(("make", "said", "answer", "kind", "sentence"), TOLD)
def test_what_the_server_says_of_its_client(
    make: Callable[[], ServerMechanism],
    said: tuple[Maker, ...],
    answer: ServerAnswer,
    kind: type[SaslError],
    sentence: str,
) -> None:
    outcome, _ = conversation(make(), Answering(answer), *said)
    assert str(outcome) == sentence
    assert type(outcome) is kind


def test_cram_md5_has_no_initial_response() -> None:
    with pytest.raises(MechanismError) as error:
        next(CramMd5Server().exchange(b""))
    assert str(error.value) == "CRAM-MD5 begins with a challenge, and has no initial response"


def test_a_system_without_md5_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> bytes:
        raise ValueError("[digital envelope routines] unsupported")

    monkeypatch.setattr(hmac, "digest", unsupported)
    with pytest.raises(MechanismError) as error:
        hears(CramMd5Client("tim", PASSWORD), Challenge(b"<12@mx.example>"))
    assert str(error.value) == "there is no MD5 on this system: use another mechanism"


# --- what cannot be prepared -----------------------------------------------------------------------------------------


@pytest.mark.rfc("4013", "2")
@pytest.mark.parametrize(
    ("text", "sentence"), [("\a", CONTROL), ("aמ", MIXED), ("1מ", ENDS), ("\N{CHRISTMAS TREE}", LATER)]
)
def test_why_a_text_cannot_be_prepared(text: str, sentence: str) -> None:
    with pytest.raises(Prohibited) as error:
        saslprep(text, stored=True)
    assert str(error.value) == sentence
    if sentence is LATER:
        assert traceprep(text) == text
        return
    with pytest.raises(Prohibited) as error:
        traceprep(text)
    assert str(error.value) == sentence


# --- what a client can use -------------------------------------------------------------------------------------------


def chosen(offered: tuple[str, ...] = ("PLAIN",), **options: Any) -> Choice:
    fields: dict[str, Any] = {"credentials": Credentials("tim", PASSWORD), "secure": True, "allow_plaintext": False}
    return choose(offered, **{**fields, **options})


IN_COMMON = "no mechanism is common to both sides: the server offers"
EXPOSES = (
    "would expose the secret, because TLS does not protect the connection: use TLS, or allow authentication in "
    "plaintext"
)
UNBOUND = "needs a channel binding, which this connection has not"
TAKEN_AWAY = (
    "TLS was wanted and the server does not offer it, or something between us and it has taken the offer away: nothing "
    "that depends on the secret is sent.  Use a server that has TLS, or say that there shall be none"
)
NOT_OFFERED = ErrorCode.AUTHENTICATION_NOT_OFFERED
NOT_COMMON = ErrorCode.NO_COMMON_MECHANISM
FORBIDDEN = ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN


@pytest.mark.parametrize(
    ("offered", "options", "why", "sentence"),
    [
        ((), {}, NOT_OFFERED, "the server offers no authentication"),
        ((), {"secure": False}, NOT_OFFERED, "the server offers no authentication; many do only under TLS"),
        (
            ("GSSAPI", "x y"),
            {"mechanisms": ["plain", "LOGIN"]},
            NOT_COMMON,
            f"{IN_COMMON} GSSAPI, the client can use PLAIN, LOGIN",
        ),
        (
            ("****",),
            {"credentials": None},
            NOT_COMMON,
            f"{IN_COMMON} none that is valid, the client can use none: the credentials suit none, or are missing",
        ),
        (
            ("SCRAM-SHA-1-PLUS",),
            {"mechanisms": ["SCRAM-SHA-1-PLUS"]},
            NOT_COMMON,
            f"{IN_COMMON} SCRAM-SHA-1-PLUS, the client can use none; SCRAM-SHA-1-PLUS {UNBOUND}",
        ),
        (("PLAIN", "login"), {"secure": False}, FORBIDDEN, f"PLAIN, LOGIN {EXPOSES}"),
        (("CRAM-MD5",), {"secure": False, "wants_tls": True}, FORBIDDEN, TAKEN_AWAY),
    ],
)
def test_why_there_is_no_mechanism(
    offered: tuple[str, ...], options: dict[str, Any], why: ErrorCode, sentence: str
) -> None:
    choice = chosen(offered, **options)
    assert (choice.candidates, choice.why, choice.message) == ((), why, sentence)
