// The page as a whole: what is looked at now, and how one gets from there to the next.

const page = {
  view: noView(),
  order: [],
  current: null,
  hasSingleKeys: kept.read("batchgen single keys") !== "off",
  hasModels: new Set(cards.map((card) => card.model)).size > 1,
};

const nPages = () => Math.max(1, Math.ceil(page.order.length / PER_PAGE));
const pageOf = (id) => Math.floor(page.order.indexOf(id) / PER_PAGE) + 1;

/**
 * Look at something else. `how`: `push` a step that Back undoes, `replace` it, `forget` besides what
 * is known of it, or `stay` as the address is.
 */
function go(view, how = "push") {
  page.view = view;
  refresh();
  if (how !== "stay") visit(how);
}

/** A new step has the state that is given, or none; one that is replaced keeps its own. */
function visit(how, state = null) {
  const address = `#${toHash(page.view)}`;
  try {
    if (how === "push" && address !== (location.hash || "#")) history.pushState(state, "", address);
    else history.replaceState(how === "forget" ? null : history.state, "", address);
  } catch {
    // A browser that has had enough of new addresses shows the view all the same.
  }
}

/** Draw what the view shows. While a run goes on, what is being looked at stays where it is. */
function refresh({ isLive = false } = {}) {
  const { view } = page;
  const isMoving = view.sort !== "first" || nElsewhere() > 0;
  const isHeld = isLive && isMoving && byId("cards").getBoundingClientRect().top < 0;
  const found = isHeld ? page.order.map(cardOf) : selected(view);
  page.order = found.map((card) => card.id);
  if (view.page > nPages()) view.page = nPages();
  const from = (view.page - 1) * PER_PAGE;
  const shown = found.slice(from, from + PER_PAGE);
  drawList(shown, found);
  drawShown(found.length);
  drawOnPaper(from, from + shown.length);
  drawControls();
  drawFresh(shown, isHeld);
  drawDetail();
}

/** Paper has no pager: which page it is, and which of all items that page has. */
function drawOnPaper(from, to) {
  const numbers = [page.view.page, nPages(), from + 1, to, page.order.length];
  const [at, last, first, end, all] = numbers.map((n) => number.format(n));
  const words = `Page ${at} of ${last}: ${first} to ${end} of ${all}`;
  setWords(byId("on-paper"), nPages() > 1 ? words : "");
}

/** How many there are, and how many there are not. */
function drawShown(n) {
  const away = nElsewhere();
  const isAre = away === 1 ? "is" : "are";
  setWords(
    byId("shown"),
    `${number.format(n)} of ${counted(cards.length, "item")} shown` +
      (away ? `; ${number.format(away)} more ${isAre} not on this page` : ""),
  );
  const part =
    `This page shows ${number.format(cards.length)} of ${number.format(head.total ?? 0)} items: ` +
    "what failed, and the newest. results.jsonl has every item.";
  if (isThere(head.total)) notice("part", away ? part : "");
  byId("empty").hidden = n > 0;
  setWords(
    byId("empty-words"),
    away
      ? "Nothing on this page matches. The search looks only at what is on this page."
      : "Nothing matches.",
  );
}

/** The cards of one page; the one that has the focus keeps it. */
function drawList(shown, found) {
  const list = byId("cards");
  const focused = list.contains(document.activeElement) ? page.current : null;
  list.classList.toggle("grouped", page.view.sort === "first");
  drawCards(list, entries(shown, page.view, found, page.hasModels));
  page.shown = shown.map((card) => card.id);
  if (!page.shown.includes(page.current)) page.current = page.shown[0] ?? null;
  for (const id of page.shown) linkOf(id).tabIndex = id === page.current ? 0 : -1;
  if (focused !== null && !list.contains(document.activeElement))
    linkOf(page.current)?.focus({ preventScroll: true });
}

const linkOf = (id) => drawn.get(`card ${id}`)?.element.querySelector(".frame");

function drawControls() {
  const { view } = page;
  if (document.activeElement !== byId("q")) byId("q").value = view.q;
  byId("sort").value = view.sort;
  byId("chips").replaceChildren(...chips(view));
  drawFilters();
  const lines = marks.lines();
  byId("review").hidden = !lines.length;
  byId("review").replaceChildren(...(lines.length ? reviewBar(view, lines) : []));
  byId("pager").hidden = nPages() < 2;
  byId("pager").replaceChildren(...pagerParts());
}

function pagerParts() {
  const { page: at } = page.view;
  const to = (n) => () => {
    turnTo(n);
    byId("gallery").scrollIntoView();
  };
  const step = (words, n, isOut) => button(words, to(n), { disabled: isOut });
  return [
    step("First", 1, at === 1),
    step("Previous", at - 1, at === 1),
    make("span", `Page ${number.format(at)} of ${number.format(nPages())}`),
    step("Next", at + 1, at === nPages()),
    step("Last", nPages(), at === nPages()),
  ];
}

function turnTo(n) {
  if (n < 1 || n > nPages()) return false;
  page.current = null;
  go({ ...page.view, page: n });
  return true;
}

/** Pictures that landed where they are not seen. */
function drawFresh(shown, isHeld) {
  for (const card of shown) live.landed.delete(card.id);
  const n = live.landed.size;
  byId("fresh").hidden =
    n === 0 || (page.view.page === 1 && page.view.sort === "newest" && !isHeld);
  setWords(byId("fresh"), `${number.format(n)} new: show the newest`);
}

function showFresh() {
  live.landed.clear();
  go({ ...page.view, sort: "newest", page: 1 });
  byId("gallery").scrollIntoView();
}

/** Words that come and go, and that are read out. */
function notice(id, words) {
  byId(id).hidden = !words;
  byId(id).textContent = words;
}

let toldTimer = 0;
function tell(words) {
  notice("link", words);
  clearTimeout(toldTimer);
  toldTimer = setTimeout(() => byId("link").textContent === words && notice("link", ""), 10_000);
}

// --- the open item --------------------------------------------------------------------------------

/**
 * Open an item. `how`: `turn` to it from the one that is open, or `push` it over that one, so that
 * Back leads to that one again. The state of a step says how many steps it is from the gallery.
 */
function openItem(id, how = "turn") {
  searchNow();
  const isOpen = byId("detail").open;
  const n_before = isOpen ? history.state?.opened : 0;
  page.view = { ...page.view, item: id };
  page.current = id;
  if (isOpen && how === "turn") visit("replace");
  else visit("push", isThere(n_before) ? { opened: n_before + 1 } : null);
  drawDetail();
}

/** Open, fill or close the detail, as the view says. */
function drawDetail() {
  const dialog = byId("detail");
  const card = page.view.item === null ? null : cardOf(page.view.item);
  if (card === null) {
    if (dialog.open) dialog.close();
    return;
  }
  const isTyping =
    dialog.open && detail.id === card.id && document.activeElement?.tagName === "TEXTAREA";
  if (isTyping) drawPlace();
  else if (detail.card !== card || detail.signed !== markSign(card)) fillDetail(card);
  else drawPlace();
  detail.signed = isTyping ? null : markSign(card);
  if (!dialog.open) {
    dialog.showModal();
    byId("detail-title").focus({ preventScroll: true });
  } else if (!dialog.contains(document.activeElement))
    byId("detail-title").focus({ preventScroll: true });
}

const markSign = (card) => JSON.stringify(marks.of(card));

/** The dialog has closed: the address says so, and the focus is where the item is. */
function closed() {
  const id = detail.id;
  Object.assign(detail, { id: null, card: null });
  const isElsewhere = page.order.includes(id) && !page.shown.includes(id);
  if (page.view.item !== null) {
    page.view = { ...page.view, item: null };
    if (history.state?.opened && !isElsewhere) history.go(-history.state.opened);
    else go(isElsewhere ? { ...page.view, page: pageOf(id) } : page.view, "forget");
  }
  focusCard(id);
}

function step(by) {
  const place = page.order.indexOf(detail.id) + by;
  if (detail.id === null || place < 0 || place >= page.order.length) return;
  openItem(page.order[place]);
}

// --- the keyboard ---------------------------------------------------------------------------------

function focusCard(id) {
  if (!page.shown.includes(id)) return;
  if (page.current !== id && linkOf(page.current)) linkOf(page.current).tabIndex = -1;
  page.current = id;
  linkOf(id).tabIndex = 0;
  linkOf(id).focus();
}

/** The card that an arrow leads to, on this page: its place, or how far it is over the end. */
function placeAfter(key, place) {
  if (key === "Home") return 0;
  if (key === "End") return page.shown.length - 1;
  if (key === "ArrowLeft" || key === "ArrowRight") return place + (key === "ArrowRight" ? 1 : -1);
  const boxes = page.shown.map((id) => linkOf(id).parentElement.getBoundingClientRect());
  const here = boxes[place];
  const isBeyond = (box) => (key === "ArrowDown" ? box.top > here.bottom : box.bottom < here.top);
  const rows = boxes.map((box, n) => [box, n]).filter(([box]) => isBeyond(box));
  if (!rows.length) return key === "ArrowDown" ? page.shown.length : -1;
  const tops = rows.map(([box]) => box.top);
  const top = key === "ArrowDown" ? Math.min(...tops) : Math.max(...tops);
  const row = rows.filter(([box]) => Math.abs(box.top - top) < 4);
  const away = (box) => Math.abs(box.left - here.left);
  return row.reduce((best, one) => (away(one[0]) < away(best[0]) ? one : best))[1];
}

function moveFocus(key) {
  const place = placeAfter(key, Math.max(0, page.shown.indexOf(page.current)));
  if (place >= 0 && place < page.shown.length) focusCard(page.shown[place]);
  else if (turnTo(page.view.page + (place < 0 ? -1 : 1)))
    focusCard(place < 0 ? page.shown.at(-1) : page.shown[0]);
}

/** Keys of one character can be switched off: who speaks to the machine may say one unawares. */
function setSingleKeys(hasThem) {
  kept.write("batchgen single keys", hasThem ? "on" : "off");
  page.hasSingleKeys = hasThem;
}

/** Whether something has the focus that is used, not looked at: it has its keys for itself. */
function isUsed(element) {
  const isLookedAt = byId("cards").contains(element) || byId("detail").contains(element);
  return !isLookedAt && element?.matches?.("button, a, summary, input");
}

const isWriting = (element) =>
  element?.matches?.("input:not([type=checkbox]), textarea, select, [contenteditable]");

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented)
    return;
  if (event.key === "Escape") escaped(event);
  else if (isWriting(event.target) || byId("keys").open) return;
  else if (event.key.length === 1 && (isUsed(event.target) || !page.hasSingleKeys)) return;
  else if ((byId("detail").open ? keyInDetail : keyInGallery)(event)) event.preventDefault();
}

function keyInDetail({ key, target }) {
  const isPanned = target.closest?.(".whole .view, pre");
  if (key === "ArrowLeft" || key === "ArrowRight")
    return !isPanned && (step(key === "ArrowRight" ? 1 : -1), true);
  if (key === "x" || key === "k")
    return (marks.toggle(detail.card, key === "x" ? "redo" : "keep"), true);
  if (key === "z") return (zoom(!detail.isWhole), true);
  if (key === "f" && isPair()) {
    if (detail.isStacked) flick(!detail.isOld);
    else stack();
    return true;
  }
  return key === "?" && openKeys();
}

function keyInGallery({ key, target }) {
  const isAmong = byId("cards").contains(target);
  if (key.startsWith("Arrow") || key === "Home" || key === "End") {
    if (!page.shown.length) return false;
    if (isAmong) return (moveFocus(key), true);
    const isNowhere = target === document.body;
    return (
      isNowhere && (key === "ArrowRight" || key === "ArrowLeft") && (focusCard(page.current), true)
    );
  }
  if ((key === "x" || key === "k") && isAmong)
    return (marks.toggle(cardOf(page.current), key === "x" ? "redo" : "keep"), true);
  if (key === "n" || key === "p") return turnTo(page.view.page + (key === "n" ? 1 : -1));
  if (key === "/") return (byId("q").focus(), byId("q").select(), true);
  return key === "?" && openKeys();
}

function openKeys() {
  byId("single-keys").checked = page.hasSingleKeys;
  byId("keys").showModal();
  return true;
}

function escaped(event) {
  if (byId("keys").open) return;
  if (byId("detail").open) {
    if (detail.isWhole) {
      event.preventDefault();
      zoom(false);
    }
    return;
  }
  const open = document.querySelector(".facet[open]") ?? document.querySelector(".more[open]");
  if (open) {
    open.open = false;
    open.querySelector("summary").focus();
  } else if (event.target === byId("q")) {
    byId("q").value = "";
    searchNow();
    if (page.view.q) go({ ...page.view, q: "", page: 1 });
    byId("q").blur();
    focusCard(page.current);
  }
}

// --- light and dark -------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${theme}`;
}

function nextTheme() {
  const theme =
    THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  kept.write("batchgen theme", theme);
  setTheme(theme);
}

// --- the start ------------------------------------------------------------------------------------

function fromAddress() {
  const view = fromHash(location.hash.slice(1));
  if (view.item !== null && cardOf(view.item) === null) {
    tell("No item of that id is on this page.");
    view.item = null;
  }
  page.view = view;
  if (view.item !== null) page.current = view.item;
  refresh();
}

function start() {
  const theme = kept.read("batchgen theme");
  setTheme(THEMES.includes(theme) ? theme : "auto");
  byId("no-script").hidden = true;
  byId("app").hidden = byId("tools").hidden = false;
  marks.load();
  startFilters();
  const on = (id, click) => byId(id).addEventListener("click", click);
  on("theme", nextTheme);
  on("help", openKeys);
  on("single-keys", () => setSingleKeys(byId("single-keys").checked));
  on("keys-close", () => byId("keys").close());
  on("close", () => byId("detail").close());
  on("previous", () => step(-1));
  on("next", () => step(1));
  on("keep", () => marks.toggle(detail.card, "keep"));
  on("redo", () => marks.toggle(detail.card, "redo"));
  on("fresh", showFresh);
  on("empty-clear", clearAll);
  on("skip", (event) => {
    event.preventDefault();
    byId("gallery").scrollIntoView();
    focusCard(page.current);
  });
  byId("detail").addEventListener("close", closed);
  byId("cards").addEventListener("focusin", (event) => {
    const id = page.shown.find((one) => linkOf(one) === event.target);
    if (id !== undefined && id !== page.current) focusCard(id);
  });
  addEventListener("keydown", pressed);
  addEventListener("popstate", fromAddress);
  addEventListener("beforeprint", () => {
    byId("drawer").open = true;
  });
  fromAddress();
  performance.mark("first cards");
  startLive();
  (window.requestIdleCallback ?? setTimeout)(() => cards.forEach(haystack));
}

start();
