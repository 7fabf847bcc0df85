"""The life of invitations, drawn at random and compared with a plain model, step by step."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flask_invitations import InvitationError, Message, Status
from flask_invitations.testing import token_in
from tests.hosts import PASSWORD, Host

TTL = timedelta(hours=48)
#: What may follow what, as the column has it; written down here once more, so that the table of moves is checked too.
ARROWS = {
    (Status.PENDING, Status.ACCEPTED),
    (Status.PENDING, Status.DECLINED),
    (Status.PENDING, Status.REVOKED),
    (Status.PENDING, Status.EXPIRED),
    (Status.EXPIRED, Status.PENDING),
    (Status.EXPIRED, Status.REVOKED),
}
#: Events that tell of a change of status, or of a new link; each change has exactly one.
CHANGES = {"created", "resent", "accepted", "declined", "revoked", "expired"}
#: A link that nobody was ever sent.
STRANGE = "A" * 43

_games = itertools.count()
picks = st.sampled_from(range(12))


@dataclass
class Known:
    """What the model knows of one invitation.

    :param span: for how long it was made to be open.
    :param links: every link that it ever had, the present one last; ``None``: not mailed so far.
    """

    email: str
    span: timedelta
    expires_at: datetime
    status: str = Status.PENDING
    links: list[str | None] = field(default_factory=lambda: [None])
    events: list[str] = field(default_factory=lambda: ["created"])
    acceptances: int = 0

    def at(self, now: datetime) -> str:
        overdue = self.status == Status.PENDING and self.expires_at <= now
        return Status.EXPIRED if overdue else self.status

    def become(self, status: str) -> None:
        self.status = status
        self.events.append(status)

    def refusal(self, link: str, now: datetime) -> str:
        """The code that this link of ours is refused with; empty: it opens."""
        status, age = self.at(now), self.links[::-1].index(link)
        if age > 1:
            return "invitation-not-found"  # only the latest replaced link is remembered
        if age == 1 and status in (Status.PENDING, Status.EXPIRED):
            return "invitation-replaced"
        return "" if status == Status.PENDING else f"invitation-{status}"


class Life(RuleBasedStateMachine):
    """One tenant, three addresses, and everything that can be done to them; a subclass says on which host."""

    host: Host

    def __init__(self) -> None:
        super().__init__()
        self.game = next(_games)
        self.tenant = self.host.tenant(f"Tenant {self.game}")
        self.known: dict[Any, Known] = {}
        self.seen_status: dict[Any, str] = {}
        self.host.outbox.clear()
        self.host.outbox.fail_with = None

    def teardown(self) -> None:
        """Leave nothing that a later game's sweep or delivery would find."""
        for each in self.known:
            self.answer(lambda each=each: self.host.invitations.revoke(each))  # type: ignore[misc]

    # How things are done

    def answer(self, act: Callable[[], Any]) -> tuple[str, Any]:
        """The code of a refusal (else empty) and the result, each call in a context of its own."""
        with self.host.app.app_context():
            try:
                return "", act()
            except InvitationError as refusal:
                return refusal.code, refusal

    @property
    def now(self) -> datetime:
        return self.host.clock()

    def pick(self, number: int) -> tuple[Any, Known]:
        return list(self.known.items())[number % len(self.known)]

    def read_mail(self) -> None:
        """Take the links out of the mails that came: each must be the one that opens its invitation right now."""
        for message in self.host.outbox.messages:
            self._read(message)
        self.host.outbox.clear()

    def _read(self, message: Message) -> None:
        one, link = self.known[message.invitation.id], token_in(message.accept_url)
        assert one.links[-1] in (None, link), "the same invitation was mailed with two links"
        assert link not in one.links[:-1], "a dead link was mailed"
        assert one.at(self.now) == Status.PENDING, "a closed invitation was mailed"
        assert message.to == one.email
        one.links[-1] = link
        one.events.append("sent")

    # What can be done

    @initialize(hours=st.sampled_from([None, 1]))
    def begin(self, hours: int | None) -> None:
        self.invite(0, hours)

    @rule(number=st.integers(0, 2), hours=st.sampled_from([None, 1]))
    def invite(self, number: int, hours: int | None) -> None:
        email, span = f"n{number}.{self.game}@example.com", hours and timedelta(hours=hours)
        theirs = [one for one in self.known.values() if one.email == email]
        code, result = self.answer(lambda: self.host.invitations.invite(email, tenant_id=self.tenant, expires_in=span))
        if any(one.status == Status.ACCEPTED for one in theirs):
            assert code == "already-member"
        elif any(one.at(self.now) == Status.PENDING for one in theirs):
            assert code == "already-invited"
            assert self.known[result.invitation_id].email == email
        else:
            assert code == ""
            for one in theirs:
                if one.status == Status.PENDING:
                    one.become(Status.EXPIRED)
            self.known[result.id] = Known(email, span or TTL, self.now + (span or TTL))
            self.read_mail()

    @precondition(lambda self: self.known)
    @rule(number=picks, rotate=st.booleans())
    def resend(self, number: int, rotate: bool) -> None:
        invitation_id, one = self.pick(number)
        code, _ = self.answer(lambda: self.host.invitations.resend(invitation_id, rotate=rotate))
        others = [other for other in self.known.values() if other is not one and other.email == one.email]
        if one.at(self.now) not in (Status.PENDING, Status.EXPIRED):
            assert code == f"invitation-{one.status}"
        elif any(other.status == Status.ACCEPTED for other in others):
            assert code == "already-member"
        elif any(other.at(self.now) == Status.PENDING for other in others):
            assert code == "already-invited"
        else:
            assert code == ""
            for other in others:
                if other.status == Status.PENDING:
                    other.become(Status.EXPIRED)
            one.status, one.expires_at = Status.PENDING, max(one.expires_at, self.now + one.span)
            one.events.append("resent")
            if rotate:
                one.links.append(None)
            self.read_mail()

    @precondition(lambda self: self.known)
    @rule(number=picks)
    def revoke(self, number: int) -> None:
        invitation_id, one = self.pick(number)
        code, _ = self.answer(lambda: self.host.invitations.revoke(invitation_id))
        if one.status == Status.ACCEPTED:
            assert code == "invitation-accepted"
            return
        assert code == ""
        if one.status in (Status.PENDING, Status.EXPIRED):
            self.decide(one, Status.REVOKED)

    def decide(self, one: Known, status: str) -> None:
        """A decision is about a person: what was made for the same address before, and is open, is revoked with it."""
        one.become(status)
        for other in itertools.takewhile(lambda each: each is not one, self.known.values()):
            if other.email == one.email and other.status in (Status.PENDING, Status.EXPIRED):
                other.become(Status.REVOKED)

    def links(self) -> Sequence[tuple[Known | None, str]]:
        mailed = [(one, link) for one in self.known.values() for link in one.links if link is not None]
        return [*mailed, (None, STRANGE)]

    @rule(number=picks, what=st.sampled_from(["accept", "accept", "accept badly", "decline", "preview"]))
    def use_a_link(self, number: int, what: str) -> None:
        """The present link of an invitation, an old one, or one that never was."""
        one, link = self.links()[number % len(self.links())]
        code, result = self.answer(lambda: self._use(what, link))
        refusal = "invitation-not-found" if one is None else one.refusal(link, self.now)
        assert code == (refusal or ("invalid-request" if what == "accept badly" else ""))
        if one is None or code == "invitation-not-found":
            return
        if what.startswith("accept") and code:
            one.events.append("accept_refused")
        elif what == "accept":
            assert (result.user.email, result.user.tenant_id) == (one.email, self.tenant)
            self.decide(one, Status.ACCEPTED)
            one.acceptances += 1
        elif what == "decline" and not code:
            self.decide(one, Status.DECLINED)

    def _use(self, what: str, link: str) -> Any:
        ours = self.host.invitations
        if what.startswith("accept"):
            return ours.accept(link, password=PASSWORD if what == "accept" else "short")
        return ours.decline(link) if what == "decline" else ours.preview(link)

    @precondition(lambda self: any(one.status == Status.ACCEPTED for one in self.known.values()))
    @rule(number=picks)
    def accept_once_more(self, number: int) -> None:
        """Whoever accepted gets the same answer again, and nothing happens."""
        accepted = [one for one in self.known.values() if one.status == Status.ACCEPTED]
        one = accepted[number % len(accepted)]

        def again() -> Any:
            user = self.host.db.session.scalar(self.host.db.select(self.host.User).filter_by(email=one.email))
            return self.host.invitations.accept(one.links[-1] or "", user=user)

        code, result = self.answer(again)
        if one.links[-1] is not None:
            assert code == ""
            assert result.again

    @rule(span=st.sampled_from([timedelta(minutes=2), timedelta(hours=1), TTL]))
    def tick(self, span: timedelta) -> None:
        self.host.clock.tick(span)

    @precondition(lambda self: any(one.at(self.now) == Status.PENDING for one in self.known.values()))
    @rule(number=picks, late=st.sampled_from([timedelta(0), timedelta(microseconds=-1)]))
    def wait_for_the_end(self, number: int, late: timedelta) -> None:
        """Until the very moment at which an invitation expires, or the last one before it (R18)."""
        ends = [one.expires_at for one in self.known.values() if one.at(self.now) == Status.PENDING]
        self.host.clock.set(max(self.now, ends[number % len(ends)] + late))

    @rule(what=st.sampled_from(["sweep", "deliver", "deliver", "mail breaks", "mail works"]))
    def housekeeping(self, what: str) -> None:
        if what == "sweep":
            self._sweep()
        elif what == "deliver":
            self.answer(self.host.invitations.deliver)
            self.read_mail()
        else:
            self.host.outbox.fail_with = OSError("mail is down") if what == "mail breaks" else None

    def _sweep(self) -> None:
        overdue = [one for one in self.known.values() if one.status != one.at(self.now)]
        assert self.answer(self.host.invitations.sweep)[1].expired == len(overdue)
        for one in overdue:
            one.become(Status.EXPIRED)

    # What must always hold

    @invariant()
    def model_and_tables_agree(self) -> None:
        """One event per change, statuses along the arrows, one user for one acceptance."""
        models = self.host.invitations.models
        rows = {row.id: row for row in self.host.rows(models.Invitation, tenant_id=self.tenant)}
        told: dict[Any, list[str]] = {each: [] for each in rows}
        for event in self.host.rows(models.InvitationEvent, tenant_id=self.tenant):
            told[event.invitation_id] += [event.type] * event.times
        assert rows.keys() == self.known.keys()
        for each, one in self.known.items():
            self._check(one, rows[each], told[each])
            before = self.seen_status.get(each, Status.PENDING)
            assert before == one.status or (before, one.status) in ARROWS
            self.seen_status[each] = one.status
        accepted = sorted(one.email for one in self.known.values() if one.acceptances)
        assert sorted(user.email for user in self.host.rows(self.host.User, tenant_id=self.tenant)) == accepted
        assert len(accepted) == len(set(accepted))

    def _check(self, one: Known, row: Any, told: list[str]) -> None:
        assert row.status == one.status
        assert row.status_at(self.now) == one.at(self.now)
        assert sorted(told) == sorted(one.events)
        assert [each for each in told if each in CHANGES] == [each for each in one.events if each in CHANGES]
        assert one.acceptances == (one.status == Status.ACCEPTED)
        if one.links[-1] is not None:
            assert row.token_hash == hashlib.sha256(one.links[-1].encode()).hexdigest()
