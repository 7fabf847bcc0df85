"""What a host needs to test its own use of invitations, with pytest, unittest or anything else.

In a host's ``conftest.py``, beside an ``app`` fixture::

    pytest_plugins = ["flask_invitations.testing"]

Then a test may ask for ``invitation_mail`` and ``invitation_clock``; both take the place of the app's own mailer and
clock for the length of the test. Without pytest, :func:`override` does the same. :func:`new_member`, :func:`signed_in`
and :func:`signed_in_manager` make people and sign them in. :class:`HostContract` checks the host's own hooks, and
:func:`check_pages` its templates. PYTEST_DONT_REWRITE: every failure says what it is about in words.
"""

from .doubles import RecordingMailer, SettableClock, token_in
from .host import HostContract
from .pages import check_pages
from .people import PASSWORD, new_member, override, signed_in, signed_in_manager

#: Read by pytest, and by nobody else: importing the kit does not import pytest.
pytest_plugins: tuple[str, ...] = ("flask_invitations.testing.fixtures",)

__all__ = [
    "PASSWORD",
    "HostContract",
    "RecordingMailer",
    "SettableClock",
    "check_pages",
    "new_member",
    "override",
    "signed_in",
    "signed_in_manager",
    "token_in",
]
