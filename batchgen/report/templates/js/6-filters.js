// What narrows the view: choices with their counts, and chips for what is chosen.

const MAX_LISTED = 200;
const MANY = 12;
// So many names of tags have a list in the bar; the others are behind "More filters".
const nTagsInBar = () => (innerWidth < 768 ? 1 : 3);
const SEARCH_MS = 120;
let searchTimer = 0;
const SIZES = ["small", "medium", "large"];

/** The facets that tell items apart: those of the page, and one for each name of a tag. */
const facetsThere = cached(() => {
  const tags = new Set(cards.flatMap((card) => Object.keys(card.tags ?? {})));
  const fixed = [...FACETS.keys()].filter((facet) => facet === "mark" || hasSeveral(facet));
  return [...fixed, ...[...tags].map((tag) => `tag:${tag}`)];
});

function hasSeveral(facet) {
  const seen = new Set();
  return cards.some((card) => valuesOf(card, facet).some((value) => seen.add(value).size > 1));
}

/** A list that opens: values of one facet, each with a box and a count. */
function facetElement(facet) {
  const list = make("ul.values");
  const more = make("p.quiet", { hidden: true });
  const find = make("input", {
    type: "search",
    placeholder: "Find a value",
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": `Find a value of ${cut(facetName(facet), 60)}`,
    hidden: true,
    input: () => fillFacet(element),
  });
  const element = make(
    "details.facet",
    { name: "facet", toggle: () => opened(element) },
    make(
      "summary",
      isTag(facet) ? foreign(facetName(facet)) : facetName(facet),
      make("span.n-chosen"),
    ),
    make("div.drop", find, list, more),
  );
  Object.assign(element, { facet, list, more, find });
  return element;
}

/** A list that has opened: filled, and to the left where there is no room to the right. */
function opened(element) {
  if (!element.open) return element.classList.remove("leftward");
  fillFacet(element);
  if (!byId("more").contains(element)) {
    byId("more").open = false;
    place(element);
  }
}

function place(element) {
  element.classList.remove("leftward");
  const { right } = element.querySelector(".drop").getBoundingClientRect();
  element.classList.toggle("leftward", right > document.documentElement.clientWidth);
}

/** Fill the list of a facet that is open. A box that has the focus keeps it. */
function fillFacet(element) {
  const { facet, list, more, find } = element;
  const counts = countsOf(facet, page.view);
  find.hidden = counts.length <= MANY && !find.value;
  const words = find.value.toLowerCase();
  const found = words ? counts.filter(([value]) => value.toLowerCase().includes(words)) : counts;
  const chosen = page.view.choices.get(facet) ?? new Set();
  const first = [
    ...found.filter(([value]) => chosen.has(value)),
    ...found.filter(([value]) => !chosen.has(value)),
  ];
  const shown = (find.hidden ? found : first).slice(0, MAX_LISTED);
  const focused =
    document.activeElement?.closest?.(".values") === list ? document.activeElement.value : null;
  list.replaceChildren(
    ...shown.map(([value, n]) => valueElement(facet, value, n, chosen.has(value))),
  );
  more.hidden = found.length > 0 && found.length <= MAX_LISTED;
  more.textContent = found.length
    ? `${number.format(found.length - MAX_LISTED)} more: type to find them`
    : "No such value";
  if (focused !== null)
    [...list.querySelectorAll("input")].find((box) => box.value === focused)?.focus();
}

function valueElement(facet, value, n, isChecked) {
  const box = make("input", {
    type: "checkbox",
    value,
    change: () => go(toggled(page.view, facet, value)),
  });
  box.checked = isChecked;
  return make(
    "li",
    make(
      "label",
      box,
      make("span.value", foreign(valueName(facet, value))),
      make("span.count", number.format(n)),
    ),
  );
}

/** What is chosen, each with a way to take it back. */
function chips(view) {
  const chosen = [...view.choices].flatMap(([facet, values]) =>
    [...values].map((value) => [facet, value]),
  );
  const made = chosen.map(([facet, value]) =>
    button(
      [
        make("span.unseen", "Remove "),
        make("span.name", foreign(facetName(facet)), " "),
        foreign(valueName(facet, value)),
        make("span", { "aria-hidden": "true" }, " ✕"),
      ],
      () => go(toggled(view, facet, value)),
      { class: "chip" },
    ),
  );
  if (view.q) {
    made.push(
      button(
        [
          make("span.unseen", "Remove "),
          make("span.name", "words "),
          foreign(view.q),
          make("span", { "aria-hidden": "true" }, " ✕"),
        ],
        () => go({ ...view, q: "", page: 1 }),
        { class: "chip" },
      ),
    );
  }
  if (made.length) made.push(button("Clear all", clearAll, { class: "clear" }));
  return made;
}

function clearAll() {
  go({ ...noView(), sort: page.view.sort });
  byId("q").focus();
}

/** Make the controls, once; which facets there are may change while a run goes on. */
function drawFilters() {
  const known = new Map(facetElements().map((one) => [one.facet, one]));
  const wanted = facetsThere();
  if (wanted.join("\n") !== [...known.keys()].join("\n")) {
    const tags = wanted.filter(isTag);
    // One alone is not worth a list of lists.
    const behind = new Set(tags.length > nTagsInBar() + 1 ? tags.slice(nTagsInBar()) : []);
    const made = (facets) => facets.map((facet) => known.get(facet) ?? facetElement(facet));
    byId("facets").replaceChildren(...made(wanted.filter((facet) => !behind.has(facet))));
    byId("facets-more").replaceChildren(...made([...behind]));
    byId("more").hidden = !behind.size;
  }
  for (const element of facetElements()) drawFacet(element);
  const n = byId("facets-more").querySelectorAll(".chosen").length;
  byId("n-more").textContent = n ? ` ${n}` : "";
  byId("more").classList.toggle("chosen", n > 0);
}

const facetElements = () => [...byId("facets").children, ...byId("facets-more").children];

function drawFacet(element) {
  const n = page.view.choices.get(element.facet)?.size ?? 0;
  element.querySelector(".n-chosen").textContent = n ? ` ${n}` : "";
  element.classList.toggle("chosen", n > 0);
  if (element.open) fillFacet(element);
}

/** Search for what has been typed, if that has not been done yet. */
function searchNow() {
  clearTimeout(searchTimer);
  const q = byId("q").value.trim();
  if (searchTimer && q !== page.view.q) go({ ...page.view, q, page: 1 }, "replace");
  searchTimer = 0;
}

function startFilters() {
  const sort = byId("sort");
  sort.append(...[...SORTS].map(([value, words]) => make("option", { value }, words)));
  sort.addEventListener("change", () => go({ ...page.view, sort: sort.value, page: 1 }));
  byId("q").addEventListener("input", () => {
    clearTimeout(searchTimer);
    searchTimer = setTimeout(searchNow, SEARCH_MS);
  });
  byId("sizes").append(...SIZES.map((size) => button(size, () => setSize(size), { value: size })));
  setSize(SIZES.includes(kept.read("batchgen size")) ? kept.read("batchgen size") : "medium");
  document.addEventListener("click", (event) => {
    for (const open of document.querySelectorAll(".facet[open], .more[open]"))
      if (!open.contains(event.target)) open.open = false;
  });
  byId("more").addEventListener("toggle", () => {
    for (const open of byId("facets").querySelectorAll(".facet[open]"))
      if (byId("more").open) open.open = false;
    place(byId("more"));
  });
  new ResizeObserver(measureBar).observe(byId("search"));
  addEventListener("resize", measureBar);
}

/** What scrolls into view is not to lie below the bar, as long as that stays on top. */
function measureBar() {
  const bar = byId("search");
  const isSticky = getComputedStyle(bar).position === "sticky";
  const height = isSticky ? Math.ceil(bar.getBoundingClientRect().height) : 0;
  document.documentElement.style.setProperty("--bar", `${height}px`);
}

function setSize(size) {
  kept.write("batchgen size", size);
  byId("cards").dataset.size = size;
  for (const one of byId("sizes").children)
    one.setAttribute("aria-pressed", String(one.value === size));
}
