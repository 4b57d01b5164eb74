"""A job's directory whose files belong into an object store.

The directory is a local one all the same: the mirror. Everything works in it as it does in any
other, and what must be there is brought, kept and sent on:

    claim      one run at a time, by an object that is renewed
    bringing   the ledger and what else a run goes by, from the store
    remote     one file after the other, from there and to there
    patience   work at a store that may be away: waited for, and done again
    away       pictures: sent when they are whole, and recorded only then
    arrivals   what workers elsewhere made: staged there, copied to where it belongs
    lending    files that go with their requests, put there for them
    outpost    where such a worker works
    shipping   the ledger: in slices while a run goes on, whole at its end
    place      where the mirror lies
    reading    what commands that only read open

Source: docs/adr/0023.
"""
