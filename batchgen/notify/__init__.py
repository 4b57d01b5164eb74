"""Whoever wants to know is told how a run ended.

occasion   what has changed since the run before, and whether it is worth a message
message    the words of it
services   the form that Slack, Discord, Teams, ntfy, or a program of one's own takes
post       on its way, with a few tries
"""

from batchgen.notify.message import message_of
from batchgen.notify.occasion import Ended, changes, is_worth_telling
from batchgen.notify.post import post
from batchgen.notify.services import posting

__all__ = ["Ended", "changes", "is_worth_telling", "message_of", "post", "posting"]
