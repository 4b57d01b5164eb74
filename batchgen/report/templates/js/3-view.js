// What is looked at: a search, choices, an order, a page, an item. All of it is in the address.

const PER_PAGE = 120;
const MAX_CHOICES = 200;
const SORTS = new Map([
  ["first", "failures first"],
  ["job", "order of the job"],
  ["newest", "newest"],
  ["cost", "highest cost"],
  ["attempts", "most calls"],
  ["slowest", "slowest"],
  ["id", "id"],
]);
const FACETS = new Map([
  ["status", "Status"],
  ["outcome", "Outcome"],
  ["model", "Model"],
  ["mark", "Review"],
]);
const ORDERED = ["done", "failed", "skipped", "pending", "redo", "keep", "remade", "unmarked"];
const NAMED = new Map([["remade", "made again"]]);

const noView = () => ({ q: "", choices: new Map(), sort: "first", page: 1, item: null });
const isTag = (facet) => facet.startsWith("tag:");
const facetName = (facet) => FACETS.get(facet) ?? facet.slice("tag:".length);
const valueName = (facet, value) =>
  isTag(facet) || facet === "model" ? value : (NAMED.get(value) ?? spaced(value));

/** The values of a card by which it can be chosen. */
function valuesOf(card, facet) {
  switch (facet) {
    case "status":
      return [card.status];
    case "outcome":
      return [card.outcome ?? "image"].filter(() => card.outcome || card.status === "done");
    case "model":
      return [card.model];
    case "mark":
      return [marks.of(card)?.mark ?? "unmarked", card.before ? "remade" : null].filter(isThere);
    default: {
      const name = facetName(facet);
      return card.tags && Object.hasOwn(card.tags, name) ? [card.tags[name]] : [];
    }
  }
}

// --- the address ----------------------------------------------------------------------------------

/** A view as it stands behind the # of an address. */
function toHash(view) {
  const parts = view.item === null ? [] : [`item=${encoded(view.item)}`];
  for (const [facet, values] of view.choices) {
    for (const value of values) {
      // A name of a tag may hold the colon that ends it.
      const name = facetName(facet).replace(/[%:]/g, encodeURIComponent);
      parts.push(
        isTag(facet) ? `tag=${encoded(`${name}:${value}`)}` : `${facet}=${encoded(value)}`,
      );
    }
  }
  if (view.q) parts.push(`q=${encoded(view.q)}`);
  if (view.sort !== "first") parts.push(`sort=${view.sort}`);
  if (view.page > 1) parts.push(`page=${view.page}`);
  return parts.join("&").replaceAll("%3A", ":");
}

/** The view of an address; what it does not understand it passes over. */
function fromHash(hash) {
  const view = noView();
  for (const [name, value] of new URLSearchParams(hash.replaceAll("+", "%2B"))) {
    if (name === "q") view.q = value.slice(0, 300);
    else if (name === "item") view.item = value;
    else if (name === "sort" && SORTS.has(value)) view.sort = value;
    else if (name === "page" && /^[0-9]{1,6}$/.test(value)) view.page = Math.max(1, Number(value));
    else if (FACETS.has(name)) choose(view, name, value);
    else if (name === "tag" && value.includes(":")) {
      const [tag] = value.split(":", 1);
      choose(view, `tag:${decoded(tag)}`, value.slice(tag.length + 1));
    }
  }
  return view;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function choose(view, facet, value) {
  const values = view.choices.get(facet) ?? new Set();
  if (values.size < MAX_CHOICES) view.choices.set(facet, values.add(value));
}

/** Another view, in which a value is chosen that was not, or the other way round. */
function toggled(view, facet, value) {
  const choices = new Map([...view.choices].map(([name, values]) => [name, new Set(values)]));
  const values = choices.get(facet) ?? new Set();
  if (!values.delete(value)) values.add(value);
  if (values.size) choices.set(facet, values);
  else choices.delete(facet);
  return { ...view, choices, page: 1 };
}

// --- choosing and ordering ------------------------------------------------------------------------

const wordsOf = (view) =>
  view.q
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word);

function hasWords(card, words) {
  if (!words.length) return true;
  const text = haystack(card);
  return words.every((word) => text.includes(word));
}

const isChosen = (card, facet, values) => valuesOf(card, facet).some((value) => values.has(value));

/** The cards that a view shows, in its order. */
function selected(view) {
  const words = wordsOf(view);
  const choices = [...view.choices];
  const found = cards.filter(
    (card) =>
      choices.every(([facet, values]) => isChosen(card, facet, values)) && hasWords(card, words),
  );
  return ordered(found, view.sort);
}

function ordered(found, sort) {
  switch (sort) {
    case "first":
      return [...causes(found).flatMap(([, group]) => group), ...others(found)];
    case "newest":
      return newest(found);
    case "cost":
      return by(found, (card) => Number(card.usd ?? -1), descending);
    case "attempts":
      return by(found, (card) => card.attempts ?? 0, descending);
    case "slowest":
      return by(
        found,
        (card) => Math.max(-1, ...(card.tries ?? []).map((one) => one.s ?? -1)),
        descending,
      );
    case "id":
      return by(found, (card) => card.id, collator.compare);
    default:
      return found;
  }
}

/** Those that did not fail: as the job has them, or the newest first where the page has only those. */
function others(found) {
  const left = found.filter((card) => !hasFailed(card));
  return nElsewhere() ? newest(left) : left;
}

const newest = (found) =>
  by(
    found,
    (card) => card.at ?? "",
    (one, other) => (one < other ? 1 : one > other ? -1 : 0),
  );

const collator = new Intl.Collator("en", { numeric: true });
const descending = (one, other) => other - one;

/** Sorted by a key that is taken once of each; equal ones stay in the order of the job. */
function by(found, key, compare) {
  const keyed = found.map((card) => [key(card), card]);
  return keyed.sort((one, other) => compare(one[0], other[0])).map(([, card]) => card);
}

/** How many cards have each value of a facet, among those that all else of a view leaves. */
function countsOf(facet, view) {
  const words = wordsOf(view);
  const others = [...view.choices].filter(([name]) => name !== facet);
  const counts = new Map([...(view.choices.get(facet) ?? [])].map((value) => [value, 0]));
  for (const card of cards) {
    if (!others.every(([name, values]) => isChosen(card, name, values))) continue;
    if (!hasWords(card, words)) continue;
    for (const value of valuesOf(card, facet)) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  const rank = (value) => (ORDERED.includes(value) ? ORDERED.indexOf(value) : ORDERED.length);
  const isRanked = facet === "status" || facet === "mark";
  return [...counts].sort(
    ([one, n], [other, m]) =>
      (isRanked ? rank(one) - rank(other) : m - n) || collator.compare(one, other),
  );
}
