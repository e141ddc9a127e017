"""What happened in a recorded session, line by line, and the first thing that was against the protocol.

Theory of operation
-------------------

The session is run again, through both ends of the engine: what the server said is read by a client (the judge), what
the client said by a server (the guide).  What the one reads, the other sends, so both are always told who spoke:

* the judge is asked about each command before it sends it, as a program is that asks `objection`, and knows for each
  reply whether the protocol has a place for it.  The first thing that it does not take is a fault, and it is dismissed;
* the guide knows which command a reply answers, where content is and where it ends, and what is wrong in it.  It goes
  on behind a fault, and gives the replies that were recorded, whatever it thinks of the command: so what follows a
  fault is explained as well as can be.  It reads one line at a time, and what was sent in a group waits.

Where it cannot follow any more it is lost: a reply is explained then by the last line of the client before it.

The two are in the room `ends`; `client_side` and `server_side` tell what was said, and let both know of it.

Secrets never come as far as a `Line`: what is said within an authentication is masked, and what a server repeats of it.
"""

from __future__ import annotations

from smtpproto import State

from .client_side import ClientSide
from .ends import Ends
from .explanation import Explanation
from .recorded import Noted, Recording, Said, Secured, Unshown
from .said import called
from .server_side import ServerSide


def explain(recording: Recording) -> Explanation:
    """Run a recorded session through the engine.  Raises `NoSession` where it is too long."""
    ends = Ends(recording)
    client = ClientSide(ends)
    server = ServerSide(ends, client)
    _begin(recording, ends)
    for entry in recording.entries:
        ends.told.where = entry.where
        match entry:
            case Said(_, True, octets):
                client.say(octets)
            case Said(_, _, octets):
                server.say(octets)
            case Unshown(_, octets):
                client.leave_content_out(octets)
            case Noted(_, text):
                ends.told.note(ends.told.masking.masked(text))
            case Secured(_, how):
                ends.secure(f"TLS: {how}" if how else "TLS")
    client.end()
    _end(ends, within_reply=server.in_progress)
    return Explanation(recording, tuple(ends.told.lines), ends.told.fault, ends.judged)


def _begin(recording: Recording, ends: Ends) -> None:
    """Many records leave the greeting out; some begin anywhere."""
    said = next((each for each in recording.entries if isinstance(each, Said)), None)
    if said is None or not said.by_client or recording.exact:
        return
    ends.told.where = said.where
    if said.octets[:4].upper() in (b"EHLO", b"HELO", b"LHLO"):
        ends.told.note("the greeting is not in the record")
        ends.give(b"220 \r\n")
    else:
        ends.told.note("the record does not begin with the greeting: nothing can be held against it")
        ends.judged = False
        ends.get_lost()


def _end(ends: Ends, *, within_reply: bool) -> None:
    if within_reply:
        ends.judge = None
        if ends.judged:
            ends.told.end_within_reply()
    if ends.judge is None or ends.judge.state is State.CLOSED:
        return
    unanswered = [called(command) for command in ends.judge.outstanding]
    if unanswered:
        ends.told.note(f"the record ends here; without an answer: {', '.join(unanswered)}")
    else:
        ends.told.note("the record ends here, without QUIT")
