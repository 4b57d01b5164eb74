"""What would keep a run from going well, looked for before there is one.

findings   what was found: fine, a warning, a problem with its exit code; each with its remedy
job        what a job says, as far as it can be read, and what it would make
account    who is asked, with which key and by which way
service    asks the service for what costs nothing, and reads what it says
models     whether it is known, served, and has a price
machine    open files, and the clock
disk       a file written, locked and taken away; room; who is there; what is left over
hook       who is told how a run ended
spend      one real picture, if somebody asks for it
examine    all of these, one after the other; what depends on another is skipped with it
"""

from batchgen.doctor.examine import examine
from batchgen.doctor.findings import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "examine"]
