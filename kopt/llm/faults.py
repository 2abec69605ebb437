"""Classify the failure of one call: why there is no reply, whether to try again, and whether it may be charged."""

from __future__ import annotations

from collections.abc import Mapping

from kopt.llm.provider import Arrival, Cut, Failed, HttpError, Json, TransportError
from kopt.llm.reply import NoReplyReason, Unanswered, Usage, one_line
from kopt.llm.retry import retry_after, retry_after_in
from kopt.model.base import Value

RETRIED = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may succeed; all from 500 on are retried too, 529 among them."""

GATEWAY_TIMEOUTS = frozenset({504, 524})
"""Statuses of a gateway that has passed the request on and waits no longer: the model may go on, at a price."""

SPENT_CODES = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached", "credit_balance_too_low"})
"""Error codes of an account without credit.  Gateways pass other providers' codes on, so all are known together."""

REFUSAL_CODES = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})
"""Error codes of a prompt that the provider's filter refused."""

STATUS_OF_CODE = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "timeout_error": 408,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "RESOURCE_EXHAUSTED": 429,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "UNAVAILABLE": 503,
}
"""Statuses of error codes that arrive inside an answer whose HTTP status was 200."""


class Fault(Value):
    """A call without a reply."""

    reason: NoReplyReason
    detail: str
    """Description in one line, for people."""
    retry: bool
    """The same request may succeed later."""
    status: int | None = None
    """HTTP status; None where no server answered."""
    after: float | None = None
    """Time that the server asked to wait, s."""
    refused: bool = False
    """The provider's filter refused the prompt, which counts as a refusal by the model."""
    billed: bool = False
    """The provider may charge for the call: it had begun to reply, or was left working."""
    usage: Usage | None = None
    """Tokens, without dollars, that a body reports which holds no reply; None where it reports none."""

    def unanswered(self, tries: int) -> Unanswered:
        """Return the outcome of a request after its last try."""
        return Unanswered(reason=self.reason, detail=self.detail, tries=tries)

    def of_whole_body(self, usage: Usage | None) -> Fault:
        """Return the fault of a body that came whole, as one JSON value, with the tokens that it reports.

        A body in another shape than the protocol's is not asked for again: the next would have the same shape.
        """
        changes = {"usage": usage, "billed": self.billed or usage is not None}
        return self.model_copy(update=changes | {"retry": self.retry and self.reason is not NoReplyReason.PROTOCOL})


def fault_of(error: Exception, arrival: Arrival, deadline_seconds: float) -> Fault:
    """Return the fault for an exception of a call.

    Args:
        error: as `Provider.unwrap` returns it.
        arrival: the part of the reply that had arrived.
        deadline_seconds: the time limit of the call, s.
    """
    fault = _fault(error, arrival, deadline_seconds)
    return fault.model_copy(update={"detail": one_line(fault.detail)})


def _fault(error: Exception, arrival: Arrival, deadline_seconds: float) -> Fault:
    import httpx2

    never_sent = (
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.PoolTimeout,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
        httpx2.InvalidURL,
    )
    cause = error.cause if isinstance(error, TransportError) else error
    if isinstance(error, HttpError) and error.status >= 300:
        return status_fault(error.status, error.headers, error.body)
    if isinstance(error, HttpError | Failed):
        return inner_fault(error.body if isinstance(error, HttpError) else error.error, arrival)
    if isinstance(cause, never_sent):
        return Fault(reason=NoReplyReason.CONNECTION, detail=f"no connection ({type(cause).__name__})", retry=True)
    if isinstance(cause, TimeoutError | httpx2.TimeoutException):
        return _billed(NoReplyReason.DEADLINE, f"no whole reply within {deadline_seconds:g} s")
    if isinstance(error, Cut):
        if arrival.began:
            return _billed(NoReplyReason.CONNECTION, "the stream ended early")
        return _billed(NoReplyReason.PROTOCOL, "the stream held no reply")
    if isinstance(error, TransportError | httpx2.HTTPError):
        return _billed(NoReplyReason.CONNECTION, f"the connection broke ({type(cause).__name__})")
    if isinstance(error, ValueError | LookupError | TypeError | AttributeError):
        return _billed(NoReplyReason.PROTOCOL, f"not the provider's protocol: {error}")
    return _billed(NoReplyReason.DEFECT, f"{type(error).__name__}: {error}", retry=False)


def _billed(reason: NoReplyReason, detail: str, *, retry: bool = True) -> Fault:
    return Fault(reason=reason, detail=detail, retry=retry, billed=True)


def inner_fault(body: object, arrival: Arrival) -> Fault:
    """Return the fault for an error inside an answer with status 200, whose code says more than the status.

    A request that was turned away before the first word, for its own fault or by a rate limit, is not charged.
    """
    fault = status_fault(_inner_status(_error_object(body)), {}, body)
    return fault.model_copy(update={"billed": arrival.received > 0 or (fault.status or 500) >= 500})


def status_fault(status: int, headers: Mapping[str, str], body: object) -> Fault:
    """Return the fault for an HTTP status.

    Args:
        status: status of the answer.
        headers: headers of the answer, by lower-case name.
        body: body of the answer, as JSON or text.
    """
    error = _error_object(body)
    codes = _codes(error)
    reason, retry = _reason(status, codes)
    after = retry_after(headers)
    return Fault(
        reason=reason,
        detail=f"HTTP {status}: {error.get('message') or 'no message'}",
        retry=retry,
        status=status,
        after=(retry_after_in(error) if after is None else after) if retry else None,
        refused=bool(codes & REFUSAL_CODES),
        billed=status in GATEWAY_TIMEOUTS,
    )


def _codes(error: Mapping[str, Json]) -> set[str]:
    """Return the words with which an error object names its kind."""
    return {str(error.get(name)) for name in ("code", "type", "status")}


def _inner_status(error: Mapping[str, Json]) -> int:
    """Return the status that an error object stands for; 500 where it names none."""
    for code in sorted(_codes(error)):
        if code in STATUS_OF_CODE:
            return STATUS_OF_CODE[code]
        if len(code) == 3 and code.isascii() and code.isdigit() and code >= "400":
            return int(code)
    return 500


def _reason(status: int, codes: set[str]) -> tuple[NoReplyReason, bool]:
    """Return why there is no reply, and whether to try again."""
    if codes & SPENT_CODES or status == 402:
        return NoReplyReason.QUOTA, False
    if status in (401, 403):
        return NoReplyReason.KEY, False
    if status == 429:
        return NoReplyReason.RATE, True
    if status >= 500 or status in RETRIED:
        return NoReplyReason.SERVER, True
    return NoReplyReason.REJECTED, False


def _error_object(body: object) -> Mapping[str, Json]:
    """Return the error object of a body, with or without an envelope or a list around it."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        return inner if isinstance(inner, Mapping) else {"message": str(inner)}
    return {"message": " ".join(str(body).split())[:200]} if body else {}
