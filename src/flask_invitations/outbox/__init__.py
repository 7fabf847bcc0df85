"""The outbox: rows that are written in the transaction of what they tell, and leave after its commit."""

from .engine import count_due, retry_failed
from .mails import Posting, deliver, notify, post

__all__ = ["Posting", "count_due", "deliver", "notify", "post", "retry_failed"]
