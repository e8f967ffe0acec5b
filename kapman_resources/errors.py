"""The one hierarchy of errors that people read: what happened, to which thing, and what to do about it."""


class KapmanError(Exception):
    """An error whose text is a sentence for a person.

    what: what happened, to which thing, with the value that was found.
    fix: the command or the change that mends it; always present, always last.
    may_pass: whether the same attempt may succeed in a minute although nobody has mended anything: a server was
        busy, a network down. False for everything that is someone's to put right.
    """

    def __init__(self, what: str, *, fix: str, may_pass: bool = False) -> None:
        self.what = what
        self.fix = fix
        self.may_pass = may_pass
        super().__init__(f"{what} {fix}")


class DatabaseError(KapmanError):
    """The server can't be used: unreachable, wrong password, no TimescaleDB, wrong version."""


class StructureError(KapmanError):
    """The database's structure is not the contract's."""


class OrderViolation(KapmanError):
    """A step was asked for before the step that it stands on has passed."""


class Refused(KapmanError):
    """A guard said no: another run holds the lock, or the operation is not allowed here."""


class SourceError(KapmanError):
    """A source object is missing, unreadable, or not what its name says."""


class VendorError(KapmanError):
    """The vendor's API answered with something that can't be used."""


class EntitlementError(VendorError):
    """The key is missing, wrong, or its plan doesn't include what was asked for (401, 403)."""


class ScopeError(KapmanError):
    """The run config names something that doesn't exist: a symbol, a session, a watchlist."""


class AuditError(KapmanError):
    """Staged rows broke a rule; nothing was published."""
