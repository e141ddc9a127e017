"""How connecting fails: codes, stages, and whether to try again."""

from __future__ import annotations

import pytest

from smtpproto.errors import ErrorCode, SmtpError
from smtpproto.failures import AuthenticationFailed, ConnectFailed, Stage, timed_out
from smtpproto.replies import Reply


def test_it_tells_all_that_is_known() -> None:
    failure = ConnectFailed(
        "the server does not serve", ErrorCode.SERVICE_NOT_AVAILABLE, Stage.GREETING, Reply(554, "no")
    )
    assert isinstance(failure, SmtpError)
    assert (failure.code, failure.stage, failure.reply) == (10, Stage.GREETING, Reply(554, "no"))
    assert str(failure) == "the server does not serve: 554 no"
    assert str(ConnectFailed("no host", ErrorCode.INVALID_ARGUMENT, Stage.OPTIONS)) == "no host"


def test_authentication_failed_is_one_of_its_kind() -> None:
    failure = AuthenticationFailed("refused", ErrorCode.AUTHENTICATION_REFUSED, Reply(535, "5.7.8 no"))
    assert isinstance(failure, ConnectFailed)
    assert failure.stage is Stage.AUTHENTICATION
    assert failure.reply == Reply(535, "5.7.8 no")
    assert AuthenticationFailed("refused", ErrorCode.AUTHENTICATION_REFUSED).reply is None
    assert failure.error is None
    document = '{"status":"invalid_token"}'
    assert AuthenticationFailed("refused", ErrorCode.AUTHENTICATION_REFUSED, error=document).error == document


@pytest.mark.parametrize("stage", Stage)
def test_each_wait_has_a_code_of_its_own(stage: Stage) -> None:
    code = timed_out(stage)
    assert code.is_timeout
    named = ErrorCode.TIMED_OUT if stage is Stage.OPTIONS else ErrorCode[f"{stage.name}_TIMED_OUT"]
    assert code is named


RETRYABLE = {
    "CONNECTION_REFUSED",
    "UNREACHABLE",
    "CLOSED_BY_PEER",
    "AUTHENTICATION_UNAVAILABLE",
    "TIMED_OUT",
    "DIAL_TIMED_OUT",
    "TLS_TIMED_OUT",
    "GREETING_TIMED_OUT",
    "HELLO_TIMED_OUT",
    "STARTTLS_TIMED_OUT",
    "AUTHENTICATION_TIMED_OUT",
}


@pytest.mark.rfc("5321", "3.8")
@pytest.mark.parametrize("code", ErrorCode)
def test_retryable_without_a_reply_hangs_on_the_code(code: ErrorCode) -> None:
    assert ConnectFailed("x", code, Stage.HELLO).retryable is (code.name in RETRYABLE)


@pytest.mark.rfc("5321", "4.2.1")
@pytest.mark.rfc("5321", "4.2")
@pytest.mark.parametrize("code", [ErrorCode.SERVICE_NOT_AVAILABLE, ErrorCode.CLOSED_BY_PEER, ErrorCode.HELLO_REFUSED])
def test_retryable_with_a_reply_hangs_on_its_first_digit(code: ErrorCode) -> None:
    assert ConnectFailed("x", code, Stage.HELLO, Reply(450, "busy")).retryable
    assert not ConnectFailed("x", code, Stage.HELLO, Reply(550, "never")).retryable


@pytest.mark.parametrize("stage", Stage)
def test_the_stages_complete_a_sentence(stage: Stage) -> None:
    assert stage.value.split()[0].endswith("ing")
