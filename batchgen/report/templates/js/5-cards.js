// The contact sheet.

// There is room for two lines of them.
const MAX_TAGS = 8;

/** A picture that falls back to the whole one, and to words where there is none. */
function picture(image, alt, attributes = {}) {
  const [source, ...others] = sourcesOf(image);
  if (!source) return instead("not shown here", alt);
  const shown = make("img", { src: source, alt, loading: "lazy", decoding: "async" });
  setAll(shown, { width: image.width ?? 1, height: image.height ?? 1, ...attributes });
  shown.addEventListener("error", () => {
    if (others.length) shown.src = others.shift();
    else shown.replaceWith(instead("the file is missing", alt));
  });
  return shown;
}

const instead = (words, alt) =>
  make("span.missing", words, alt ? make("span.unseen", `: ${alt}`) : null);

const altOf = (card) => cut(`${card.id}: ${promptOf(card)}`, 200);

/** What stands in the place of a picture that is not there. */
function placeholder(card) {
  if (card.is_under_way) return make("span.waiting", "under way");
  if (!hasFailed(card)) return make("span.waiting", "not made yet");
  return make(
    "span.cause",
    make(
      "strong",
      make("span.sign", { "aria-hidden": "true" }, card.status === "failed" ? "✕ " : "◇ "),
      spaced(card.outcome ?? card.status),
    ),
    card.error ? make("span.message", foreign(cut(card.error, 280))) : null,
  );
}

function badges(card) {
  const mark = marks.of(card);
  const n_besides = (card.pictures ?? []).length;
  const n_turns = (card.turns ?? []).length;
  return [
    mark &&
      make("span", { class: `badge ${mark.mark}` }, mark.mark === "redo" ? "↻ redo" : "✓ keep"),
    card.before && make("span.badge", "made again"),
    card.wrong_size && make("span.badge.warn", "other size"),
    n_turns > 1 && make("span.badge", `${n_turns} turns`),
    n_besides > 0 && n_turns < 2 && make("span.badge", `+${counted(n_besides, "picture")}`),
  ].filter(isThere);
}

/** The facts below a picture, in one quiet line. */
function factsOf(card) {
  return [
    card.image && pixels(card.image),
    card.attempts ? usd(card.usd) : null,
    card.attempts > 1 ? counted(card.attempts, "call") : null,
  ].filter(isThere);
}

function cardElement(card, hasModels) {
  const shown = badges(card);
  const isMarked = marks.of(card)?.mark === "redo";
  const states = [card.status, card.is_under_way && "under-way", isMarked && "marked"];
  const address = `#${toHash({ ...noView(), item: card.id })}`;
  const click = (event) => followed(event, card.id);
  const inside = card.image ? picture(card.image, altOf(card)) : wordsInstead(card);
  return make(
    ["li", "card", ...states.filter(isThere)].join("."),
    make("a.frame", { href: address, tabindex: "-1", click }, inside),
    shown.length ? make("div.badges", shown) : null,
    card.image ? markButton(card, isMarked) : null,
    make("div.words", make("h4", foreign(card.id)), wordsBelow(card, hasModels)),
  );
}

const wordsInstead = (card) => [make("span.unseen", foreign(card.id), " "), placeholder(card)];

function wordsBelow(card, hasModels) {
  const tags = tagsOf(card).slice(0, MAX_TAGS);
  const line = factsOf(card).join(" · ");
  return [
    tags.length ? make("p.tags", tags.map(tagElement)) : null,
    line ? make("p.line", line) : null,
    hasModels ? make("p.line", foreign(card.model)) : null,
  ];
}

const tagElement = ([name, value]) =>
  make("span.tag", make("span.name", foreign(name), " "), foreign(value));

/** For hands without a keyboard; with one, `x` does the same. */
function markButton(card, isMarked) {
  return make(
    "button",
    {
      type: "button",
      class: "mark",
      tabindex: "-1",
      "aria-pressed": String(isMarked),
      click: () => {
        page.current = card.id; // the keyboard goes on from here
        marks.toggle(cardOf(card.id), "redo");
      },
    },
    make("span", { "aria-hidden": "true" }, "↻"),
    make("span.unseen", `redo ${cut(card.id, 80)}`),
  );
}

/** A click that wants the item here, and not in another tab. */
function followed(event, id) {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  openItem(id, "push");
}

// --- the list: headings where the order has groups, and cards -------------------------------------

const cardEntry = (card, hasModels) => ({
  key: `card ${card.id}`,
  of: card,
  sign: JSON.stringify([marks.of(card), hasModels]),
  build: () => cardElement(card, hasModels),
});

const headingEntry = (key, heading) => ({
  key: `heading ${key}`,
  of: null,
  sign: JSON.stringify(heading),
  build: () => headingElement(heading),
});

function headingElement({ words, n, isBad, isAlone, remedy }) {
  return make(
    // One alone says nothing that is not to be seen above the cards; it is there for who hears them.
    isBad ? "li.group.bad" : isAlone ? "li.group.unseen" : "li.group",
    make("h3", words, " ", make("span.count", number.format(n))),
    remedy ? make("p.remedy", remedy) : null,
  );
}

/** What a page of cards shows, with the group that each begins; `all` are those of all pages. */
function entries(shown, view, all, hasModels) {
  const nameOf = view.sort === "first" ? causeOf : () => "";
  const sizes = new Map();
  for (const card of all) sizes.set(nameOf(card), (sizes.get(nameOf(card)) ?? 0) + 1);
  return shown.flatMap((card, place) => {
    const name = nameOf(card);
    const isFirst = place === 0 || nameOf(shown[place - 1]) !== name;
    const entry = cardEntry(card, hasModels);
    const isAlone = sizes.size === 1 && !nElsewhere();
    const heading = () => ({ ...headingOf(name, sizes.get(name), view), isAlone });
    return isFirst ? [headingEntry(name, heading()), entry] : [entry];
  });
}

function headingOf(name, n, view) {
  if (name) return { words: spaced(name), n, isBad: true, remedy: remedies.get(name) };
  if (view.sort === "first") return { words: nElsewhere() ? "Pictures, the newest first" : "Pictures", n };
  return {
    words: view.sort === "job" ? "In the order of the job" : `By ${SORTS.get(view.sort)}`,
    n,
  };
}

const drawn = new Map();

/** Bring the list to what is to be seen, and leave alone what is already right. */
function drawCards(list, wanted) {
  const elements = wanted.map((entry) => {
    const known = drawn.get(entry.key);
    if (known?.of === entry.of && known.sign === entry.sign) return known.element;
    const element = entry.build();
    drawn.set(entry.key, { of: entry.of, sign: entry.sign, element });
    return element;
  });
  const keys = new Set(wanted.map((entry) => entry.key));
  for (const key of drawn.keys()) if (!keys.has(key)) drawn.delete(key);
  const there = new Set(elements);
  for (const child of [...list.children]) if (!there.has(child)) child.remove();
  elements.forEach((element, place) => {
    const now = list.children[place];
    if (now !== element) list.insertBefore(element, now ?? null);
  });
}
