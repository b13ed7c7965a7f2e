# SPDX-License-Identifier: GPL-3.0-or-later
"""The error codes of the service and the error record that travels."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InternGSError

CODES: dict[str, str] = {
    "bad-message": "a message was malformed or had wrong types",
    "hello-first": "a request came before hello, or after the server forgot the session",
    "protocol-unsupported": "no common protocol number",
    "capability-missing": "the server lacks something the client requires",
    "key-refused": "the key is unknown, revoked or may not do this",
    "pairing-code": "the pairing code is wrong, used or too old",
    "server-key-changed": "the server holds another key than the one stored for it (found by the client)",
    "server-unreachable": "no answer from the server (found by the client)",
    "too-fast": "more messages than allowed",
    "too-many-sessions": "the server has no place for another client",
    "unknown-job": "no such job of this owner",
    "illegal-move": "the job's state does not allow this",
    "capture-invalid": "the capture breaks a rule",
    "limit-exceeded": "a documented limit is exceeded",
    "quota-exceeded": "the client's stored bytes are used up",
    "queue-full": "too many jobs wait",
    "disk-full": "the server's disk has no room for new work",
    "upload-credit": "more unanswered chunks than granted",
    "hash-mismatch": "the bytes are not those that were announced",
    "blob-unwanted": "no job of this owner waits for these bytes",
    "blob-missing": "no such blob for this owner",
    "preview-gone": "that preview was replaced by newer ones",
    "file-changed": "a photo changed on disk while it was being sent (found by the client)",
    "out-of-memory": "the worker, or the client for a download, had not enough memory",
    "worker-lost": "the worker ended again and again without an answer",
    "worker-error": "the worker failed for a reason nobody foresaw",
    "result-too-large": "the result has more Gaussians than allowed",
    "no-result": "the job has no result yet",
    "store-in-use": "another server uses the store folder",
    "store-too-new": "the store was written by a newer version",
    "stopping": "the server is stopping",
    "link-closed": "the client was closed before the answer came",
    "internal": "the server failed for a reason nobody foresaw",
}
"""Every code that the service or the link adds to the pipeline's own, with its meaning."""


@dataclass(frozen=True)
class ErrorInfo:
    """An error as it travels: stable code, one sentence of cause, one of remedy."""

    code: str
    cause: str
    remedy: str

    @staticmethod
    def of(error: InternGSError) -> ErrorInfo:
        """The record of an error."""
        return ErrorInfo(error.code, error.cause, error.remedy)

    def to_error(self) -> ServiceError:
        """The error to raise on the side that received the record."""
        return ServiceError(self.code, self.cause, self.remedy)


class ServiceError(InternGSError):
    """A request to the service failed."""


class WireError(InternGSError):
    """Bytes that are no valid message or container."""

    def __init__(self, cause: str) -> None:
        super().__init__("bad-message", cause, "Update the side that sent it, or report this as a bug.")
