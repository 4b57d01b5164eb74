// One item, large: its picture beside what it was made from, and how it came about.

// What is on the stage of an item without a picture, until somebody chooses one of its others.
const NONE = -1;
const detail = { id: null, card: null, chosen: 0, isWhole: false, isStacked: false, isOld: false };

/** The pictures of an item that can be looked at: `{image, label, kind}`, its own first. */
function picturesOf(card) {
  const before = card.before ?? [];
  const references = (card.turns ?? []).flatMap((turn) => turn.references ?? []);
  const old = (n) => (before.length > 1 ? `before ${n + 1}` : "before");
  const as = (kind, nameOf) => (image, n) => ({ kind, image, label: nameOf(image, n) });
  return [
    ...(card.image ? [card.image] : []).map(as("own", () => (card.before ? "now" : "the picture"))),
    ...before.map(as("before", (_, n) => old(n))).reverse(),
    ...(card.pictures ?? []).map(as("besides", (image) => image.label)),
    ...references.map(as("reference", referenceName)),
  ];
}

function referenceName(image, n) {
  const name = image.label || image.item || image.path?.split("/").at(-1) || image.url;
  return name ? `reference ${n + 1}: ${name}` : `reference ${n + 1}`;
}

function fillDetail(card) {
  const isSame = detail.id === card.id;
  Object.assign(detail, { id: card.id, card });
  if (!isSame) {
    const chosen = card.image ? 0 : NONE;
    Object.assign(detail, { chosen, isWhole: false, isStacked: false, isOld: false });
  }
  byId("detail-title").replaceChildren(foreign(card.id));
  drawStage();
  byId("side").replaceChildren(...sections(card));
  if (!isSame) byId("side").scrollTop = 0;
  drawPlace();
}

/** Where the item stands among those that are shown, and its mark. */
function drawPlace() {
  const place = page.order.indexOf(detail.id);
  byId("detail-place").textContent =
    place < 0 ? "" : `${number.format(place + 1)} of ${number.format(page.order.length)}`;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place >= page.order.length - 1;
  const mark = marks.of(detail.card)?.mark;
  for (const name of ["keep", "redo"]) {
    byId(name).setAttribute("aria-pressed", String(mark === name));
    byId(name).disabled = !detail.card.image;
  }
}

// --- the stage ------------------------------------------------------------------------------------

/** Whether the picture that there is now is looked at beside an old one. */
const isPair = () =>
  isThere(detail.card.image) &&
  isThere(detail.card.before) &&
  detail.chosen === 0 &&
  !detail.isWhole;

function drawStage() {
  const all = picturesOf(detail.card);
  const chosen = all[detail.chosen] ?? null;
  const old = all.find((one) => one.kind === "before");
  const look = isPair() ? (detail.isStacked ? "stacked" : "pair") : detail.isWhole ? "whole" : "one";
  byId("stage").className = `stage ${look}`;
  byId("stage").replaceChildren(
    viewElement(isPair() ? [old, chosen] : [chosen].filter(isThere)),
    make("div.stage-bar", isPair() ? pairButtons() : zoomButton(chosen), fileLink(chosen)),
    ...strip(all),
  );
}

/** One picture, or two; at full size it scrolls, and can be reached by the keyboard for that. */
function viewElement(shown) {
  const whole = { tabindex: "0", role: "group", "aria-label": "The picture at full size" };
  const figures = shown.map(figure);
  if (detail.isStacked && figures.length > 1) hide(figures, detail.isOld ? 1 : 0);
  if (!figures.length) return make("div.view", make("div.nothing", placeholder(detail.card)));
  return make("div.view", detail.isWhole ? whole : {}, figures);
}

function figure({ image, label, kind }) {
  const words = kind === "own" ? altOf(detail.card) : `${label} of ${cut(detail.card.id, 80)}`;
  const hasThumbnailAlone = isServed && image.is_inside === false;
  const source = hasThumbnailAlone ? image : { ...image, thumbnail: false };
  const size = pixels(image);
  return make(
    `figure.${kind}`,
    picture(source, words, { loading: "eager", click: zoomAt }),
    make("figcaption", foreign(label), size ? ` · ${size}` : null),
  );
}

function zoomButton(chosen) {
  if (chosen === null) return null;
  const words = detail.isWhole ? "Fit" : "100 %";
  return button(words, () => zoom(!detail.isWhole), { "aria-keyshortcuts": "z" });
}

function fileLink(chosen) {
  const address = chosen && addressOf(chosen.image);
  return (
    address && make("a", { href: address, target: "_blank", rel: "noopener" }, "Open the file")
  );
}

// --- old and new ----------------------------------------------------------------------------------

function pairButtons() {
  if (!detail.isStacked) return button("One over the other", stack, { "aria-keyshortcuts": "f" });
  return [button("Side by side", stack), flicker()];
}

function stack() {
  detail.isStacked = !detail.isStacked;
  detail.isOld = false;
  drawStage();
  byId("stage").querySelector(".stage-bar button").focus();
}

/** Shows the old picture as long as it is held down. */
function flicker() {
  const show = (isOld) => () => flick(isOld);
  const held = { pointerdown: show(true), pointerup: show(false), pointerleave: show(false) };
  const click = (event) => event.detail === 0 && flick(!detail.isOld); // by the keyboard
  return button("Hold to see the old one", click, { ...held, "aria-keyshortcuts": "f" });
}

function flick(isOld) {
  detail.isOld = isOld;
  hide([...byId("stage").querySelectorAll(".view figure")], isOld ? 1 : 0);
}

/** Of two figures, one over the other, one is not to be seen. */
function hide(figures, place) {
  figures.forEach((one, n) => {
    one.classList.toggle("behind", n === place);
    one.ariaHidden = String(n === place);
  });
}

/** The other pictures, small: a click puts one on the stage. */
function strip(all) {
  if (all.length === 0 || (all.length === 1 && detail.card.image)) return [];
  const small = all.map((one, place) =>
    make(
      "li",
      make(
        "button",
        {
          type: "button",
          "aria-pressed": String(place === detail.chosen),
          click: () => choosePicture(place),
        },
        picture(one.image, ""),
        make("span", foreign(cut(one.label, 60))),
      ),
    ),
  );
  return [make("ul.strip", { "aria-label": "Pictures of this item" }, small)];
}

function choosePicture(place) {
  Object.assign(detail, { chosen: place, isWhole: false });
  drawStage();
  byId("stage").querySelectorAll(".strip button")[place]?.focus();
}

function zoom(isWhole) {
  if (detail.card === null || !picturesOf(detail.card)[detail.chosen]) return;
  detail.isWhole = isWhole;
  drawStage();
}

/** Full size, about the point that was clicked; or back. */
function zoomAt(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  zoom(!detail.isWhole);
  const view = byId("stage").querySelector(".whole .view");
  const shown = view?.querySelector("img");
  if (!shown) return;
  view.scrollLeft = x * shown.offsetWidth - view.clientWidth / 2;
  view.scrollTop = y * shown.offsetHeight - view.clientHeight / 2;
}

// --- what is known of it --------------------------------------------------------------------------

function section(title, ...children) {
  const found = children.flat(Infinity).filter(isThere);
  return found.length ? make("section", make("h3", title), found) : null;
}

const paragraph = (text, name = "foreign") => make("p", { class: name, dir: "auto" }, text);

function sections(card) {
  return [
    verdict(card),
    review(card),
    prompts(card),
    section("Words of the model", card.text ? paragraph(card.text, "foreign quote") : null),
    section("Searches", grounding(card.found)),
    section(
      "Notes",
      notesOf(card).map((note) => paragraph(note)),
    ),
    section("Calls", timeline(card)),
    section("Cost", costs(card)),
    section(
      "Tokens",
      facts(Object.entries(card.tokens ?? {}).map(([name, n]) => [spaced(name), number.format(n)])),
    ),
    section(
      "Settings",
      facts([
        ["model", card.model],
        ["model that answered", card.model_version !== card.model ? card.model_version : null],
        ...Object.entries(card.settings ?? {}).map(([name, value]) => [name, value]),
      ]),
    ),
    folded("System instruction", card.system),
    folded("Raw request", card.request),
    section("Tags", facts(tagsOf(card))),
    section("File", file(card)),
  ].filter(isThere);
}

/** What must be known of its picture, each once: the ledger may have noted its size, too. */
function notesOf(card) {
  const notes = [...new Set(card.notes ?? [])];
  const isTold = !card.wrong_size || notes.some((note) => note.includes(card.wrong_size));
  return isTold ? notes : [...notes, card.wrong_size];
}

function verdict(card) {
  if (!hasFailed(card)) return null;
  const outcome = causeOf(card);
  return make(
    "section.verdict",
    make("h3", spaced(outcome)),
    card.error ? paragraph(card.error) : null,
    remedies.has(outcome) ? make("p.remedy", remedies.get(outcome)) : null,
  );
}

function review(card) {
  if (!card.image?.sha256) return null;
  const mark = marks.of(card);
  const note = make("textarea", { rows: "1", maxlength: "2000", dir: "auto" });
  note.setAttribute("aria-describedby", "note-how");
  note.value = mark?.note ?? "";
  note.addEventListener("change", () =>
    marks.set(cardOf(card.id), marks.of(card)?.mark ?? "redo", note.value.trim()),
  );
  const told = mark ? `Marked: ${mark.mark}.` : "A note marks the picture to be made again.";
  return section(
    "Review",
    make("label", make("span", "Note"), note),
    make("p.quiet", { id: "note-how" }, told),
  );
}

function prompts(card) {
  const turns = card.turns ?? [];
  let n_references = 0; // counted on from turn to turn, as below the picture
  const referencesOf = (turn) =>
    (turn.references ?? []).map((image) => referenceElement(image, n_references++));
  const shown = turns.map((turn, n) => [
    turns.length > 1 ? make("h4", `Turn ${n + 1}`) : null,
    paragraph(turn.prompt, "foreign prompt"),
    turn.references ? make("ul.references", referencesOf(turn)) : null,
  ]);
  const copies = [
    promptOf(card) ? copyButton("Copy the prompt", () => promptOf(card)) : null,
    copyButton("Copy the id", () => card.id),
  ];
  return section(turns.length > 1 ? "Prompts" : "Prompt", shown, make("p.copies", copies));
}

function referenceElement(image, n) {
  const name = foreign(referenceName(image, n));
  const address = addressOf(image);
  const away = image.url ? webAddress(image.url) : null;
  return make(
    "li",
    picture(image, ""),
    make(
      "span",
      address ? make("a", { href: address }, name) : name,
      image.item && cardOf(image.item) ? [" · ", itemLink(image.item)] : null,
      away ? [" · ", outward(away, "where it comes from")] : null,
    ),
  );
}

function itemLink(id) {
  const address = `#${toHash({ ...noView(), item: id })}`;
  return make("a", { href: address, click: (event) => followed(event, id) }, "its item");
}

const outward = (uri, words) =>
  make("a", { href: uri, rel: "noopener noreferrer external" }, foreign(words));

function grounding(found) {
  if (!found) return [];
  const links = (title, all) => {
    const shown = (all ?? []).map((one) => [one, webAddress(one.uri)]).filter(([, uri]) => uri);
    return shown.length
      ? [
          make("h4", title),
          make(
            "ul",
            shown.map(([one, uri]) => make("li", outward(uri, one.title))),
          ),
        ]
      : [];
  };
  const words = (title, all) =>
    all?.length
      ? [
          make("h4", title),
          make(
            "ul",
            all.map((one) => make("li", foreign(one))),
          ),
        ]
      : [];
  return [
    words("Searched the web for", found.queries),
    words("Searched images for", found.image_queries),
    links("Sources", found.sources),
    links("Search further", found.suggestions),
  ];
}

/** Names and values, as far as there are values. */
function facts(pairs) {
  const shown = pairs.filter(([, value]) => isThere(value) && value !== "");
  if (!shown.length) return [];
  return make(
    "dl.facts",
    shown.map(([name, value]) =>
      make(
        "div",
        make("dt", foreign(name)),
        make("dd", typeof value === "string" ? foreign(value) : value),
      ),
    ),
  );
}

function folded(title, text) {
  if (!text) return null;
  return make(
    "section",
    make(
      "details",
      make("summary", make("h3", title)),
      make("pre.foreign", { tabindex: "0", dir: "auto" }, text),
    ),
  );
}

function file(card) {
  if (!card.image) return [];
  const { image } = card;
  return [
    facts([
      ["path", image.path],
      ["size", [pixels(image), image.bytes && fileSize(image.bytes)].filter(isThere).join(" · ")],
      ["made", card.at && `${moment(card.at)} UTC`],
      ["run", card.run],
      ["SHA-256", image.sha256],
    ]),
    image.path
      ? make(
          "p.copies",
          copyButton("Copy the path", () => image.path),
        )
      : null,
  ];
}

/** What the calls came to: the picture, what brought none, what may be billed besides. */
function costs(card) {
  const tries = card.tries ?? [];
  const sum = (chosen) =>
    tries.filter(chosen).reduce((total, one) => total + Number(one.usd ?? 0), 0);
  const isBilled = (one) => one.billed === undefined || one.billed === "yes";
  const n_unknown = tries.filter((one) => one.billed !== "no" && !isThere(one.usd)).length;
  const waste = sum((one) => isBilled(one) && one.outcome !== "image");
  const maybe = sum((one) => one.billed === "maybe");
  const now = isThere(card.usd) ? `$${card.usd}` : card.attempts ? "unknown" : null;
  // What is known of an item is of what it asks for now; its calls are all that ever were.
  const before = Number((sum((one) => one.billed !== "maybe") - Number(card.usd ?? 0)).toFixed(6));
  const isOther = tries.some((one) => isOfOther(card, one)) && before > 0;
  return facts([
    [isOther ? "for what it asks for now" : "all calls", now],
    ["before it was changed", isOther ? `$${before.toFixed(6)}` : null],
    ["for no picture", waste ? usd(waste) : null],
    ["may be billed besides", maybe ? usd(maybe) : null],
    ["calls of unknown cost", n_unknown ? String(n_unknown) : null],
  ]);
}

// --- the timeline ---------------------------------------------------------------------------------

const SIGNS = { done: "●", retry: "↻", failed: "✕", skipped: "◇", stop: "■" };

/** The calls as bars, run by run; between two of them, how long nothing was under way. */
function timeline(card) {
  const runs = Map.groupBy(card.tries ?? [], (one) => one.run);
  return [...runs].map(([run, tries]) => {
    const isThisRun = runs.size === 1 && run === head.run;
    const title = isThisRun ? `from ${moment(tries[0].at)} UTC` : ["run ", foreign(run)];
    return [make("h4", title), make("ol.timeline", rows(card, tries))];
  });
}

/** The calls of one run, on one scale, and the waits between them. */
function rows(card, tries) {
  const begins = tries.map((one) => Date.parse(one.at) / 1000 || 0);
  const ends = tries.map((one, n) => begins[n] + (one.s ?? 0));
  const whole = Math.max(0.001, Math.max(...ends) - begins[0]);
  return tries.map((one, n) => {
    const wait_s = n > 0 ? begins[n] - ends[n - 1] : 0;
    const from = (begins[n] - begins[0]) / whole;
    return [
      wait_s >= 0.1 ? make("li.wait", `${duration(wait_s)} later`) : null,
      tryElement(card, one, from, (one.s ?? 0) / whole),
    ];
  });
}

/** Whether the item does not ask any more for what a call was for; of earlier turns nobody knows. */
const isOfOther = (card, one) => one.turn >= (card.turns ?? []).length && one.key !== card.key;

function tryElement(card, one, from, share) {
  const n_turns = (card.turns ?? []).length;
  return make(
    `li.try.${one.decision}`,
    make(
      "p",
      make("span.sign", { "aria-hidden": "true" }, SIGNS[one.decision] ?? "·"),
      " ",
      make("strong", spaced(one.outcome)),
      n_turns > 1 ? ` · turn ${one.turn}` : null,
      one.n ? ` · call ${one.n} · ` : " · ",
      foreign(toldOf(one).join(" · ")),
    ),
    barOf(from, share),
    isOfOther(card, one) ? make("p.quiet", "It asked for something else then.") : null,
    one.why && !notesOf(card).includes(one.why) ? paragraph(one.why, "foreign quiet") : null,
    one.request_id ? make("p.quiet", "request ", foreign(one.request_id)) : null,
  );
}

function toldOf(one) {
  if (!one.n) return ["nothing was sent"];
  const cost = `${usd(one.usd)}${one.billed === "maybe" ? ", maybe" : ""}`;
  const isOdd = one.finish_reason && one.finish_reason !== "STOP";
  return [
    isThere(one.s) ? duration(one.s) : "never answered",
    one.status ? `HTTP ${one.status}` : null,
    one.billed === "no" ? "not billed" : cost,
    one.decision === "retry" ? "tried again" : null,
    isOdd ? one.finish_reason : null,
  ].filter(isThere);
}

function barOf(from, share) {
  const width = Math.min(1000, Math.max(8, 1000 * share));
  return draw(
    "svg",
    { viewBox: "0 0 1000 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "rail", x: 0, y: 2.5, width: 1000, height: 1 }),
    draw("rect", { class: "span", x: Math.min(1000 - width, 1000 * from), y: 0, width, height: 6 }),
  );
}

// --- copying --------------------------------------------------------------------------------------

function copyButton(words, text) {
  const made = button(words, async () => {
    made.textContent = (await copied(text(), made)) ? "Copied" : "Not copied";
    setTimeout(() => {
      made.textContent = words;
    }, 1500);
  });
  return made;
}

async function copied(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A page from disk may not: the older way is left.
    const area = make("textarea.unseen");
    area.value = text;
    near.after(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    near.focus();
    return isDone;
  }
}
