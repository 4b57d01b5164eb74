"""A ledger held against the bill: was paid what was drawn, and once, and at what price?

rows         the gateway's usage log in all its forms, row by row
bill         what its rows come to, by request
calls        what the ledgers say
joining      which request is which call
multiplier   what the gateway's prices are to the list
comparison   all of it: every call and every row in exactly one class
findings     the report
"""

from batchgen.reconcile.comparison import reconcile
from batchgen.reconcile.findings import Reconciliation

__all__ = ["Reconciliation", "reconcile"]
