"""From an email message to what is sent: its envelope, and its octets.

The envelope is that of the headers, unless the program says otherwise.  They are read by ``email.headerregistry``, for
a legacy ``Message`` too, and what it finds defective is refused: half an address list is not what anybody meant.  The
engine then checks each address, as it does all others.

What the server does not offer must not be sent to it, and ``email.generator`` does not see to that: it leaves content
without a charset as it is, writes header fields with 8-bit octets as they came, encodes non-ASCII addresses, and turns
binary content into lines.  So all this is done here, on a copy, before the generator sees it:

- Header fields become ASCII, with encoded words (RFC 2047), unless SMTPUTF8 is used.  Only an address that is not
  ASCII, in the envelope or a header field, makes that necessary (RFC 6531).
- Parts that the server cannot take become quoted-printable or base64, octet for octet: those with octets above 127
  where there is no 8BITMIME (RFC 6152), those with NUL, and binary ones.
- Inside of multipart/signed nothing may change (RFC 1847 section 2.1): what would have to is refused.
"""

from __future__ import annotations

import binascii
import copy
import io
import re
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from email.base64mime import body_encode
from email.errors import InvalidHeaderDefect
from email.generator import BytesGenerator
from email.header import Header
from email.headerregistry import Address, AddressHeader, Group
from email.message import Message
from email.policy import SMTP, SMTPUTF8, EmailPolicy, Policy
from typing import Any, Final, TypeAlias

from smtpproto import Extensions, LocalProtocolError, Mail, Mailbox, Rcpt
from smtpproto.envelope import Envelope

Part: TypeAlias = "Message[Any, Any]"
Encoder: TypeAlias = Callable[[str], str | bytes]
"""From a domain with U-labels to one of A-labels, such as ``idna.encode``."""

_ORIGINAL: Final = ("From", "Sender", "To", "Cc", "Bcc")
_ADDRESS_HEADERS: Final = frozenset(
    name.lower() for name in ("Reply-To", *_ORIGINAL, *(f"Resent-{name}" for name in _ORIGINAL))
)
_RESENT: Final = frozenset({"resent-date", *(f"resent-{name.lower()}" for name in _ORIGINAL)})

# What the email package finds invalid, and what real display names and groups are full of.  No address is in doubt.
_HARMLESS: Final = frozenset(
    {
        "missing trailing whitespace after encoded-word",
        "missing whitespace before encoded word",
        "encoded word inside quoted string",
        "end of header in group",
        "end of header before group-list",
    }
)

# field-name = 1*ftext                                              ; RFC 5322 section 3.6.8
_match_name = re.compile(r"[!-9;-~]+\Z").match
# dot-atom-text, in the wider sense that RFC 6532 gives to atext     ; RFC 5322 section 3.2.3
_ATEXT: Final = r"[^\x00- ()<>\[\]:;@\\,.\"\x7f]"
_match_dot_atom = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*\Z").match
_line_end = re.compile("\r\n|\r|\n")
# The email package takes a line to end where str.splitlines does.  What ends one beyond ASCII is encoded.
_breaks_out = re.compile(r"(?>\r\n|[\n\v\f\r\x1c-\x1e])(?![ \t]|\Z)").search
_line_end_octets = re.compile(b"\r\n|\r|\n")
_CTE: Final = "Content-Transfer-Encoding"


def prepare(
    message: Part,
    extensions: Extensions,
    *,
    sender: str | Mailbox | Mail | None = None,
    recipients: str | Mailbox | Rcpt | Iterable[str | Mailbox | Rcpt] | None = None,
    encode_domain: Encoder | None = None,
    **parameters: Any,
) -> tuple[Envelope, bytes]:
    """The envelope and the content of an ``EmailMessage``, or a legacy ``Message``, which is not changed.

    ``sender`` and ``recipients``: what the headers say if they are None, that is Sender, or else the first address of
    From; and To, Cc and Bcc together, each address once.  Where the message was resent, their Resent-* counterparts
    are meant (RFC 5322 section 3.6.6).  ``sender=""`` is the null reverse-path.  ``encode_domain`` gives the ASCII form
    of a domain for a server without SMTPUTF8.  Further arguments are parameters of MAIL; ``body`` and ``smtputf8`` are
    added where the content and the addresses need them.

    The content consists of lines with CRLF, without Bcc and Resent-Bcc.  Raises `LocalProtocolError` where a header
    field that is needed holds no usable address, where it was resent more than once, so that it is not clear which
    fields are meant, and where the server does not offer what the message needs.
    """
    if not isinstance(message, Message):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise LocalProtocolError(f"a {type(message).__name__} is no email message: send it with sendmail()")
    if sender is None:
        sender = _sender(message)
    if recipients is None:
        recipients = _recipients(message)
    copied = _without_bcc(message)
    envelope, utf8 = _international(copied, extensions, encode_domain, _envelope(sender, recipients, parameters))
    offered = utf8 or "8BITMIME" in extensions
    # A policy that says 7bit is the program's wish.
    eight_bit = offered and (utf8 or message.policy.cte_type == "8bit") and envelope.mail.body != "7BIT"
    policy = _policy(message.policy, utf8=utf8)
    with _explained("the message cannot be written"):
        _write_headers(copied, policy, encode_domain, signed=False)
        _encode_parts(copied, eight_bit=eight_bit, signed=False, root=True)
        content = _flat(copied, policy)
    _check(content, copied, eight_bit=eight_bit)
    if envelope.mail.body is None and not content.isascii():
        envelope = envelope.with_mail(body="8BITMIME")
    return envelope, content


# The envelope ----------------------------------------------------------------------------------------------------


def _sender(message: Part) -> Mailbox:
    block = _block(message)
    name = f"{block}Sender" if f"{block}Sender" in message else f"{block}From"
    for mailbox in _mailboxes(message, name, "sender="):
        return mailbox
    raise LocalProtocolError(
        f'the message has no address in {name}, and so no reverse-path: give it with sender= ("" for the null one)'
    )


def _recipients(message: Part) -> list[Mailbox]:
    block = _block(message)
    names = [f"{block}{name}" for name in ("To", "Cc", "Bcc")]
    once: dict[tuple[str, str], Mailbox] = {}
    for name in names:
        for mailbox in _mailboxes(message, name, "recipients="):
            # Only the domain is without case: RFC 5321 section 2.4.
            once.setdefault((mailbox.local_part, mailbox.domain.lower()), mailbox)
    if not once:
        raise LocalProtocolError(f"the message has no address in {', '.join(names)}: name its recipients=")
    return list(once.values())


def _block(message: Part) -> str:
    """The prefix of the header fields that count.  RFC 5322 section 3.6.6."""
    found = [name.lower() for name, _ in message.raw_items() if name.lower() in _RESENT]
    for name in found:
        if found.count(name) > 1:
            raise LocalProtocolError(
                f"the message was resent more than once, as it has several {name.title()}, and it is not clear which "
                "block is the last: give both sender= and recipients="
            )
    return "Resent-" if found else ""


def _mailboxes(message: Part, name: str, instead: str) -> Generator[Mailbox]:
    for key, value in message.raw_items():
        if key.lower() != name.lower():
            continue
        header = _address_header(name, value)
        for defect in header.defects:
            if isinstance(defect, InvalidHeaderDefect) and str(defect) not in _HARMLESS:
                raise LocalProtocolError(
                    f"the header field {name} is no list of addresses ({defect}): correct it, or give {instead}"
                )
        for address in header.addresses:
            try:
                yield Mailbox(_local_part(address.username), address.domain)
            except LocalProtocolError as error:
                raise LocalProtocolError(f"the header field {name}: {error}; correct it, or give {instead}") from error


def _address_header(name: str, value: object) -> Any:
    """The field as an `AddressHeader`; Any, since what the registry makes is of two classes at once."""
    if isinstance(value, AddressHeader):
        return value
    with _explained(f"the header field {name} cannot be read"):
        return SMTP.header_factory(name, _text(value))


def _text(value: object) -> str:
    """The unfolded field.  8-bit octets are UTF-8 (RFC 6532); what is not stays a lone surrogate, which is refused
    in an address and replaced in other text."""
    text = _line_end.sub("", str(value))
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _local_part(text: str) -> str:
    if _match_dot_atom(text):
        return text
    return '"{}"'.format(re.sub(r'(["\\])', r"\\\1", text))


def _envelope(
    sender: str | Mailbox | Mail,
    recipients: str | Mailbox | Rcpt | Iterable[str | Mailbox | Rcpt],
    parameters: dict[str, Any],
) -> Envelope:
    """With smtputf8 where the reverse-path alone cannot do without it; whether it can be had is another question."""
    path = sender.reverse_path if isinstance(sender, Mail) else str(sender)
    return Envelope(sender, recipients, **(parameters if path.isascii() else {**parameters, "smtputf8": True}))


def _international(
    message: Part, extensions: Extensions, encode: Encoder | None, envelope: Envelope
) -> tuple[Envelope, bool]:
    """The envelope as it can be sent, and whether by SMTPUTF8."""
    paths = (envelope.sender, *envelope.forward_paths)
    where = next((f"the address {path}" for path in paths if not path.isascii()), None)
    where = where or next((f"an address in {name}" for name in _international_headers(message)), None)
    if where is None and not envelope.mail.smtputf8:
        return envelope, False
    # Who offers SMTPUTF8 must offer 8BITMIME too: RFC 6531 section 3.1.
    if "SMTPUTF8" in extensions and "8BITMIME" in extensions:
        return envelope.with_mail(smtputf8=True), True
    if where is None:
        raise LocalProtocolError("smtputf8=True, but the server does not offer SMTPUTF8 (with 8BITMIME): RFC 6531")
    if encode is None:
        raise LocalProtocolError(
            f"{where} is not ASCII: it needs SMTPUTF8 (RFC 6531), which the server does not offer (with 8BITMIME); "
            "where it is the domain alone, encode_domain= can say how to write it in ASCII"
        )
    mail, *recipients = (_ascii(path, encode) for path in paths)
    fields = {name: getattr(envelope.mail, name) for name in Mail.__match_args__[1:]}
    return Envelope(mail, map(_rcpt, recipients, envelope.recipients), **{**fields, "smtputf8": False}), False


def _international_headers(message: Part) -> Generator[str]:
    """The names of the header fields, those of attached messages too, with an address that is not ASCII."""
    for part in message.walk():
        for name, value in part.raw_items():
            if name.lower() not in _ADDRESS_HEADERS or str(value).isascii():
                continue
            if _is_international(_address_header(name, value)):
                yield name


def _is_international(header: Any) -> bool:
    addresses: tuple[Address, ...] = getattr(header, "addresses", ())
    return not all(address.username.isascii() and address.domain.isascii() for address in addresses)


def _ascii(path: str, encode: Encoder) -> str:
    if path.isascii():
        return path
    mailbox = Mailbox.parse(path).with_ascii_domain(encode)
    if not mailbox.is_ascii:
        raise LocalProtocolError(
            f"the local part of {path} is not ASCII: it needs SMTPUTF8 (RFC 6531), which the server does not offer "
            "(with 8BITMIME)"
        )
    return str(mailbox)


def _rcpt(path: str, rcpt: Rcpt) -> Rcpt:
    return Rcpt(path, **{name: getattr(rcpt, name) for name in Rcpt.__match_args__[1:]})


# The copy --------------------------------------------------------------------------------------------------------


def _without_bcc(message: Part) -> Part:
    """A copy that the generator, which sets boundaries and policies, can have for itself."""
    with _explained("the message cannot be copied"):
        # These never change, and some are large.
        kept: list[object] = [part.policy for part in message.walk()]
        kept += [value for part in message.walk() for _, value in part.raw_items()]
        copied = copy.deepcopy(message, {id(value): value for value in kept})
    del copied["Bcc"]
    del copied["Resent-Bcc"]
    return copied


@contextmanager
def _explained(what: str) -> Generator[None]:
    """The email package raises errors of all kinds for what it cannot deal with."""
    try:
        yield
    except LocalProtocolError:
        raise
    except Exception as error:
        raise LocalProtocolError(f"{what}: {type(error).__name__}: {error}") from error


def _policy(policy: Policy[Any], *, utf8: bool) -> Policy[Any]:
    """The message's own, as SMTP wants it.

    A line that begins with "From " is one like any other here; and what has to be encoded was, so that the generator
    may leave the rest as it is.
    """
    if isinstance(policy, EmailPolicy):
        return policy.clone(linesep="\r\n", cte_type="8bit", utf8=utf8, mangle_from_=False)  # pyright: ignore[reportUnknownVariableType]
    if utf8:
        return SMTPUTF8
    return policy.clone(linesep="\r\n", cte_type="8bit", mangle_from_=False)


def _children(part: Part) -> list[Part]:
    payload: Any = part.get_payload()
    return payload if part.is_multipart() else []


def _is_signed(part: Part) -> bool:
    return part.get_content_type() == "multipart/signed"


def _write_headers(part: Part, policy: Policy[Any], encode: Encoder | None, *, signed: bool) -> None:
    """Replace the header fields that the generator would get wrong."""
    before = [*part.raw_items()]
    after = [(name, _written(name, value, policy, encode)) for name, value in before]
    replaced = [old for (_, old), (_, new) in zip(before, after, strict=True) if old is not new]
    if replaced:
        if signed and any(isinstance(old, str) for old in replaced):
            raise LocalProtocolError(
                "a part of a multipart/signed has a header field that is not ASCII, and encoding it would break the "
                "signature"
            )
        for name, _ in before:
            del part[name]
        for name, value in after:
            part.set_raw(name, value)
    for child in _children(part):
        _write_headers(child, policy, encode, signed=signed or _is_signed(part))


def _written(name: str, value: Any, policy: Policy[Any], encode: Encoder | None) -> Any:
    """What the generator writes rightly: the value itself wherever it can be."""
    if not _match_name(name):
        raise LocalProtocolError(f"{name!r} cannot be the name of a header field: RFC 5322 section 3.6.8")
    text = str(value)
    if _breaks_out(text):
        raise LocalProtocolError(f"the header field {name} breaks out of its line: take the line ends out of it")
    if isinstance(policy, EmailPolicy):
        if isinstance(value, Header):
            value = text
        if policy.utf8 or (hasattr(value, "name") and not _is_international(value)):
            return value
    elif isinstance(value, Header) and name.lower() not in _ADDRESS_HEADERS:
        return value
    return value if text.isascii() else _folded(name, value, encode)


def _folded(name: str, value: Any, encode: Encoder | None) -> str:
    header: Any = value if hasattr(value, "name") else SMTP.header_factory(name, _text(value))
    if encode is not None and hasattr(header, "addresses"):
        header = SMTP.header_factory(name, [_ascii_group(group, encode) for group in header.groups])
    folded: str = header.fold(policy=SMTP)
    return folded.removesuffix("\r\n").partition(":")[2].lstrip(" ")


def _ascii_group(group: Group, encode: Encoder) -> Group:
    addresses = [
        Address(each.display_name, each.username, _ascii_domain(each, encode) if each.domain else "")
        for each in group.addresses
    ]
    return Group(group.display_name, addresses)


def _ascii_domain(address: Address, encode: Encoder) -> str:
    return _ascii(f"{_local_part(address.username)}@{address.domain}", encode).rpartition("@")[2]


def _encode_parts(part: Part, *, eight_bit: bool, signed: bool, root: bool) -> bool:
    """Encode the parts that cannot be sent as they are; true if there was one."""
    children = _children(part)
    if not children:
        return _encode_leaf(part, eight_bit=eight_bit, signed=signed, root=root)
    below = signed or _is_signed(part)
    attached = part.get_content_maintype() == "message"
    changes = [_encode_parts(child, eight_bit=eight_bit, signed=below, root=attached) for child in children]
    if any(changes) and str(part.get(_CTE, "")).strip().lower() in ("8bit", "binary"):
        part.replace_header(_CTE, "8bit" if eight_bit else "7bit")
    return any(changes)


def _encode_leaf(part: Part, *, eight_bit: bool, signed: bool, root: bool) -> bool:
    # get_payload() decodes it, by whatever charset is claimed; the generator takes it as it is here.
    payload: Any = vars(part).get("_payload")
    if not isinstance(payload, str):
        return False
    try:
        octets = payload.encode("ascii", "surrogateescape")
    except UnicodeEncodeError:
        raise LocalProtocolError(
            "the message has text that is not ASCII, and no charset for it: give one to set_payload()"
        ) from None
    encoding = str(part.get(_CTE, "")).strip().lower()
    if encoding != "binary" and 0 not in octets and (eight_bit or octets.isascii()):
        return False
    if part.get_content_maintype() in ("multipart", "message"):
        return False  # which must not be encoded: RFC 2045 section 6.4
    if signed:
        raise LocalProtocolError(
            "a part of a multipart/signed is 8-bit or binary, the server does not offer 8BITMIME for it, and encoding "
            "it would break the signature: sign what is quoted-printable or base64"
        )
    if encoding == "quoted-printable":
        octets = binascii.a2b_qp(octets)
    elif encoding != "binary":
        octets = _line_end_octets.sub(b"\r\n", octets)  # as it would have been sent
    _set_encoded(part, octets, lines=encoding != "binary")
    if root and "MIME-Version" not in part:
        part["MIME-Version"] = "1.0"
    return True


def _set_encoded(part: Part, octets: bytes, *, lines: bool) -> None:
    encoding, encoded = "base64", body_encode(octets, eol="\r\n")
    if lines and part.get_content_maintype() == "text":
        quoted = binascii.b2a_qp(octets).decode("ascii")
        if len(quoted) <= len(encoded):
            encoding, encoded = "quoted-printable", quoted
    part.set_payload(encoded)
    if _CTE in part:
        part.replace_header(_CTE, encoding)
    else:
        part[_CTE] = encoding


def _flat(message: Part, policy: Policy[Any]) -> bytes:
    out = io.BytesIO()
    BytesGenerator(out, mangle_from_=False, policy=policy).flatten(message)
    content = out.getvalue()
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def _check(content: bytes, message: Part, *, eight_bit: bool) -> None:
    """Whatever the generator did."""
    if 0 in content:
        raise LocalProtocolError("the message has a NUL outside of what can be encoded: take it out")
    if not eight_bit and not content.isascii():
        raise LocalProtocolError(
            "the message has octets above 127 outside of what can be encoded, and is to be sent without 8BITMIME: "
            "take them out"
        )
    head = b"" if content.startswith(b"\r\n") else content.partition(b"\r\n\r\n")[0]
    lines = [line for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t", b"")]
    names = [name.encode("ascii") for name, _ in message.raw_items()]
    if [line.partition(b":")[0] for line in lines] != names:
        raise LocalProtocolError("a header field of the message breaks out of its line: take the line ends out of it")
