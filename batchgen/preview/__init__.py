"""What a run would do now, and why: read, and nothing more.

look          the job, the earlier runs, and the plan that follows from them
foresight     what becomes of each item, counted
changes       what of it asks for something else than in the last run
differences   two items compared, in the words of the job file
orphans       pictures of items that the job has no more
"""

from batchgen.preview.foresight import Group
from batchgen.preview.look import Preview, preview

__all__ = ["Group", "Preview", "preview"]
