"""A run that a scheduler starts: what to start and when, as the file that the scheduler reads.

    when      HH:MM and days -> systemd's calendar, cron's fields
    start     what is started, where, with which key; what every scheduler's file has in common
      ├── systemd   a hardened service and its timer
      ├── cron      one line of a crontab
      └── k8s       a CronJob

Each of the three is a pure function of a `Start`: it returns texts by file name and writes nothing.
A key is never in them: they name the file, or the Secret, that holds it.
"""

from batchgen.schedule.start import Start, check_texts
from batchgen.schedule.when import When, read_when, skipped_nights

__all__ = ["Start", "When", "check_texts", "read_when", "skipped_nights"]
