"""Every error this system raises on purpose.

TallyError
├── Refused                   the caller asked for something that cannot be done; carries a code
│   ├── ValidationFailed      malformed, out of range, or naming nothing (validation_error)
│   ├── Unauthorized          no key, or one that opens nothing (unauthorized)
│   ├── PermissionDenied      the key may not do this (permission_denied)
│   ├── InvalidOperation      well-formed, but the state forbids it (invalid_operation)
│   ├── NotFound              the subject does not exist (not_found)
│   ├── AlreadyExists         a unique key is taken (already_exists)
│   ├── VersionConflict       another writer was first: read again (version_conflict)
│   └── NotBuiltYet           a route or field of a later milestone (not_implemented)
├── InputUnreadable           a file or stream cannot be read to its end
└── StoreError                the outside world failed; retried with a bound at the edge
"""

from collections.abc import Mapping
from typing import ClassVar


class TallyError(Exception):
    """The root of the tree."""


class Refused(TallyError):
    """A refusal: `code` is a word of the closed list of platform.md section 4.

    `details` is what the wire tells beside the message; without it, what `field` and `reason` say.
    """

    code: ClassVar[str] = "validation_error"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        reason: str | None = None,
        details: Mapping[str, object] | None = None,
    ):
        super().__init__(message)
        self.field = field
        self.reason = reason
        self.details = details


class ValidationFailed(Refused):
    """The request is malformed or a value is out of range; `field` names the place."""

    code = "validation_error"


class Unauthorized(Refused):
    """No key came, or one that is unknown, expired or revoked: always answered alike."""

    code = "unauthorized"


class PermissionDenied(Refused):
    """The key is good, and does not allow this; the message names the permission that is missing."""

    code = "permission_denied"


class InvalidOperation(Refused):
    """The state forbids it; `reason` is a word of the closed list of platform.md section 4."""

    code = "invalid_operation"


class NotFound(Refused):
    """The subject of the request does not exist."""

    code = "not_found"


class AlreadyExists(Refused):
    """A unique key is taken, or an idempotency key came with other content."""

    code = "already_exists"


class VersionConflict(Refused):
    """Another writer was first: what was decided rests on a state that is gone."""

    code = "version_conflict"


class NotBuiltYet(Refused):
    """A route or a field of a later milestone."""

    code = "not_implemented"


class InputUnreadable(TallyError):
    """A file or stream cannot be read to its end; the message names it and says why."""


class StoreError(TallyError):
    """A store did not answer or refused a statement; raised from its cause."""
