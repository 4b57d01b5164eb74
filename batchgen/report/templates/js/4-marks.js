// What somebody thinks of pictures. A mark is about one picture: another one has none.
// Served, the server writes it down; from disk, this browser does, and hands out the file.

const marks = {
  /** Marks by item: those of this browser, or those that are on their way to the server. */
  own: new Map(),
  // The page's place alone: a mark outlives the run, for it is bound to its picture.
  place: `batchgen marks ${location.pathname}`,

  load() {
    if (isServed) return;
    try {
      const lines = JSON.parse(kept.read(this.place) ?? "[]");
      for (const line of lines) {
        const { item, sha256 } = line;
        if (typeof item !== "string" || typeof sha256 !== "string") continue;
        // What was marked may be gone by now, or made again: that mark has done its work.
        const card = cardOf(item);
        if (card === null || card.image?.sha256 === sha256) this.own.set(item, line);
      }
    } catch {
      // Somebody else's words lie there: they are no marks of ours.
    }
  },

  /** `{mark, note}` of a card's picture, or null. */
  of(card) {
    const own = this.own.get(card.id);
    const { mark, note } =
      own && own.sha256 === card.image?.sha256 ? own : { mark: card.mark, note: card.mark_note };
    return mark === "redo" || mark === "keep" ? { mark, note: note ?? null } : null;
  },

  /** Mark the picture of a card; `none` takes a mark away. */
  async set(card, mark, note) {
    if (!card.image?.sha256) return;
    const before = this.own.get(card.id);
    const line = { item: card.id, sha256: card.image.sha256, mark, note: note || null };
    this.own.set(card.id, line);
    changed();
    refresh();
    const trouble = isServed ? await this.send(line) : this.keep();
    if (trouble === null) return;
    tell(trouble);
    if (isServed && this.own.get(card.id) === line) {
      if (before) this.own.set(card.id, before);
      else this.own.delete(card.id);
      changed();
      refresh();
    }
  },

  keep() {
    const isKept = kept.write(this.place, JSON.stringify([...this.own.values()]));
    return isKept
      ? null
      : "This browser keeps nothing for a page from disk: save review.jsonl before you leave.";
  },

  async send(line) {
    try {
      const answer = await fetch("./review", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(line),
      });
      line.isSent = true;
      if (answer.ok) return null;
      const { error } = await answer.json().catch(() => ({}));
      return `The mark was not written down: ${cut(String(error ?? answer.status), 300)}`;
    } catch {
      return "The mark was not written down: the server does not answer.";
    }
  },

  /** A newer card has come: it tells the mark that was sent. */
  settle(card) {
    if (isServed && this.own.get(card.id)?.isSent) this.own.delete(card.id);
  },

  toggle(card, mark) {
    const now = this.of(card);
    return this.set(card, now?.mark === mark ? "none" : mark, now?.note);
  },

  /** All marks, as lines of review.jsonl: from disk, also those that it has and that were taken back. */
  lines: cached(() =>
    cards.flatMap((card) => {
      const isTakenBack = card.mark && !isServed;
      const now = marks.of(card) ?? (isTakenBack ? { mark: "none", note: null } : null);
      return now === null ? [] : [{ item: card.id, sha256: card.image.sha256, ...now }];
    }),
  ),
};

/** Hand out review.jsonl. */
function saveMarks() {
  const text = marks
    .lines()
    .map((line) => `${JSON.stringify(line)}\n`)
    .join("");
  const address = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  make("a", { href: address, download: "review.jsonl" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** The line that tells how many are marked, and what to do with them. */
function reviewBar(view, lines) {
  const n = (mark) => lines.filter((line) => line.mark === mark).length;
  const chosen = view.choices.get("mark");
  const isOnly = chosen?.has("redo") && chosen.has("keep");
  const words = make(
    "p",
    make("strong", `${number.format(n("redo"))} to redo`),
    `, ${number.format(n("keep"))} to keep`,
    n("none") ? `, ${number.format(n("none"))} taken back.` : ".",
  );
  const only = button(
    isOnly ? "Show all" : "Show only these",
    () => go(onlyMarked(view, !isOnly)),
    { "aria-pressed": String(Boolean(isOnly)) },
  );
  const how = make(
    "p.quiet",
    isServed
      ? ""
      : "Put the file into the job's directory, beside this page (if there is one already, add its lines). ",
    "Then ",
    make("code", "batchgen run JOB --redo"),
    " makes those again.",
  );
  return [
    words,
    only,
    isServed ? null : button("Save review.jsonl", saveMarks, { class: "primary" }),
    how,
  ].filter(isThere);
}

function onlyMarked(view, isOnly) {
  const choices = new Map(view.choices);
  if (isOnly) choices.set("mark", new Set(["redo", "keep"]));
  else choices.delete("mark");
  return { ...view, choices, page: 1 };
}
