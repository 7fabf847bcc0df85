"""The outbox: rows that are written in the transaction of what they tell, and leave after its commit."""

from .engine import MOST, count_due, retry_failed
from .mails import Posting, deliver, notify, post, untrue

__all__ = ["MOST", "Posting", "count_due", "deliver", "notify", "post", "retry_failed", "untrue"]
