"""Where a run takes place. `local`: in this process, on one event loop."""
