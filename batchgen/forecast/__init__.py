"""What a run is going to do, and what that should take: tokens, money and time.

experience   what earlier pictures took, learnt from ledgers
published    what is published of them, where nobody has any
spread       low, expected and high, of one and of a sum
turns        those of a plan, by kind, each kind with what tells most of it
duration     how long they take
figures      all that they take, each with what it is by
work         one pass over a plan
"""

from batchgen.forecast.experience import Experience, read_experience
from batchgen.forecast.figures import Figures
from batchgen.forecast.turns import Grounds
from batchgen.forecast.work import Forecast, Work, forecast

__all__ = ["Experience", "Figures", "Forecast", "Grounds", "Work", "forecast", "read_experience"]
