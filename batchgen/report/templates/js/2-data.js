// The items: one block of JSON lines, the head first.

const [head, ...cards] = byId("data")
  .textContent.split("\n")
  .filter((line) => line)
  .map((line) => JSON.parse(line));
const places = new Map(cards.map((card, place) => [card.id, place]));
const remedies = new Map(Object.entries(head.remedies ?? {}));
const isServed = isThere(head.live);

/** How many items of the job are not on this page: it has what failed, and the newest. */
const nElsewhere = () => Math.max(0, (head.total ?? 0) - cards.length);

/** A value that is worked out anew when the cards, or their marks, have changed. */
function cached(work) {
  let [of, value] = [null, null];
  return () => {
    if (of !== cached.version) [of, value] = [cached.version, work()];
    return value;
  };
}
cached.version = 0;
const changed = () => cached.version++;

const cardOf = (id) => (places.has(id) ? cards[places.get(id)] : null);

/** Take cards that are new, or newer than those of the same id. */
function takeCards(newer) {
  changed();
  for (const card of newer) {
    if (!places.has(card.id)) places.set(card.id, cards.push(card) - 1);
    else cards[places.get(card.id)] = card;
  }
  if (cards.some((card, place) => place > 0 && cards[place - 1].n > card.n)) {
    cards.sort((one, other) => one.n - other.n);
    cards.forEach((card, place) => places.set(card.id, place));
  }
}

const hasFailed = (card) => card.status === "failed" || card.status === "skipped";
const causeOf = (card) => (hasFailed(card) ? (card.outcome ?? card.status) : "");
const tagsOf = (card) => Object.entries(card.tags ?? {});
const promptOf = (card) => (card.turns ?? []).map((turn) => turn.prompt).join("\n");

const haystacks = new WeakMap();
/** What a search looks through. */
function haystack(card) {
  if (!haystacks.has(card)) {
    const words = `${card.id}\n${promptOf(card)}\n${card.text ?? ""}`;
    haystacks.set(card, words.toLowerCase());
  }
  return haystacks.get(card);
}

/** Items that failed, by cause, the commonest first: `[outcome, cards]`. */
function causes(among) {
  const groups = new Map();
  for (const card of among) {
    const outcome = causeOf(card);
    if (!outcome) continue;
    if (!groups.has(outcome)) groups.set(outcome, []);
    groups.get(outcome).push(card);
  }
  return [...groups].sort((one, other) => other[1].length - one[1].length);
}

/** Where a picture is to be seen whole. Served, nothing outside of the job's directory is. */
const addressOf = (image) =>
  image.path && (image.is_inside !== false || !isServed) ? href(image.path) : null;

/** Where the small picture of a card is, and where to look if it is not there. */
function sourcesOf(image) {
  const small = image.thumbnail && image.sha256 ? href(`thumbnails/${image.sha256}.webp`) : null;
  return [small, addressOf(image)].filter(isThere);
}
