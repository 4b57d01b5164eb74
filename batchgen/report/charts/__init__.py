"""The charts of a report: inline SVG by hand, without scripts, styles or ids that could collide.

- `series`: what one pass over the ledger gathers about the last run, in bounded memory;
- `scales`: round ticks, and figures as an axis writes them;
- `draw`: the few marks that there are, as SVG;
- `over_time`, `amounts`: each chart, from its data to a picture, a sentence and a table;
- `charts`: those that there is something to show for, and the HTML around them.

Colours and fonts are classes of `templates/charts.css`.
"""
