// A run that goes on: cards that land, figures that move, and what holds it up.

const live = {
  run: null,
  at_ms: 0,
  stream: null,
  since: head.live?.seq ?? 0,
  landed: new Set(),
  timer: 0,
};
const RETRY_MS = 3000;
const CHARTS_MS = 10_000;
const UNSEEN_MS = 5000;

function startLive() {
  if (!isServed) return;
  connect();
  setInterval(tick, 1000);
  setInterval(() => live.run && !live.run.ended && renewCharts(), CHARTS_MS);
  byId("drawer").addEventListener("toggle", renewCharts);
  document.addEventListener("freeze", disconnect);
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", reconnect);
  document.addEventListener("resume", reconnect);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(live.unseenTimer);
    if (document.hidden) live.unseenTimer = setTimeout(disconnect, UNSEEN_MS);
    else reconnect();
  });
}

/** A browser has six connections to a server: a tab that nobody sees does not hold one. */
function disconnect() {
  live.stream?.close();
  live.stream = null;
}

/** What came to pass meanwhile comes now. */
function reconnect() {
  if (live.stream === null && !document.hidden) connect();
}

function connect() {
  live.stream?.close();
  const stream = new EventSource(`./events?since=${encoded(String(live.since))}`);
  live.stream = stream;
  const on = (name, take) =>
    stream.addEventListener(name, (event) => {
      if (event.lastEventId) live.since = event.lastEventId;
      take(JSON.parse(event.data));
    });
  on("items", landed);
  on("run", (run) => {
    Object.assign(live, { run, at_ms: performance.now() });
    drawRun();
  });
  on("reload", () => location.reload());
  stream.addEventListener("open", () => notice("link", ""));
  stream.addEventListener("error", () => {
    notice("link", "The connection is lost. Trying again…");
    if (stream.readyState === EventSource.CLOSED)
      setTimeout(() => live.stream === stream && connect(), RETRY_MS);
  });
}

/** Cards that changed: drawn together, at most so often. */
function landed(newer) {
  for (const card of newer) {
    const before = cardOf(card.id);
    if (card.image && card.image.sha256 !== before?.image?.sha256) live.landed.add(card.id);
    marks.settle(card);
  }
  takeCards(newer);
  live.timer ||= setTimeout(() => {
    live.timer = 0;
    refresh({ isLive: true });
    drawCauses();
  }, 150);
}

// --- the head of the page -------------------------------------------------------------------------

function drawRun() {
  const { run } = live;
  const before = byId("state").textContent;
  const state = run.ended ? `ended: ${spaced(run.ended.stop_reason ?? "")}` : "going on";
  if (state !== before) {
    byId("state").replaceChildren(foreign(state));
    if (run.ended) renewCharts({ isLast: true });
  }
  drawBar(run);
  const unknown = run.cost_unknown_attempts && isThere(run.cost_usd) ? "+?" : "";
  const figures = {
    run: run.run,
    began: `${run.started_at.slice(0, 16).replace("T", " ")} UTC`,
    planned: Number(run.planned_usd) ? `of ${usd(run.planned_usd)} planned` : "",
    cost: usd(run.cost_usd) + unknown,
    waste: usd(run.cost_waste_usd),
    maybe: usd(run.cost_maybe_usd),
    calls: number.format(run.attempts),
    takes: duration(run.p50_s),
    "per-minute": isThere(run.per_min) ? run.per_min.toFixed(1) : "–",
  };
  for (const [id, words] of Object.entries(figures)) setWords(byId(id), words);
  document.title = `${run.job} · ${run.done}/${run.total} · batchgen`;
  tick();
}

function setWords(element, words) {
  if (element && element.textContent !== words) element.textContent = words;
}

/** How long, how long still, and until when nothing leaves. */
function tick() {
  const { run } = live;
  if (!run) return;
  const past = run.ended ? 0 : (performance.now() - live.at_ms) / 1000;
  setWords(byId("duration"), duration(Math.floor((run.elapsed_s ?? 0) + past)));
  setWords(
    byId("eta"),
    run.ended || !isThere(run.eta_s)
      ? "–"
      : `~${duration(Math.max(0, Math.round(run.eta_s - past)))}`,
  );
  const cooling = (run.ended ? [] : (run.cooling ?? []))
    .map((one) => [one, Math.ceil((Date.parse(one.until) - Date.now()) / 1000)])
    .filter(([, left]) => left > 0);
  byId("cooling").hidden = !cooling.length;
  byId("cooling").replaceChildren(
    ...cooling.map(([one, left]) =>
      make(
        "li",
        `cooling down ${left} s after `,
        foreign(one.why ?? "a refusal"),
        " on ",
        foreign(one.model),
      ),
    ),
  );
}

/** The bar of parts; a part that there is is wide enough to be seen. */
function drawBar(run) {
  const names = ["done", "failed", "skipped", "pending"].filter(
    (name) => run[name] > 0 || name === "done",
  );
  const widths = shares(names.map((name) => run[name]));
  let x = 0;
  byId("bar").replaceChildren(
    ...names.map((name, place) => {
      const part = draw("rect", { class: name, x, y: 0, width: widths[place], height: 10 });
      x += widths[place];
      return part;
    }),
  );
  byId("bar").setAttribute("aria-label", `${run.done} of ${run.total} done`);
  // How many are of earlier runs is known of the run that the page was made of.
  const reused = run.run === head.run ? byId("legend").querySelector(".reused") : null;
  byId("legend").replaceChildren(
    ...names.map((name) =>
      make("li", { class: name }, make("strong", number.format(run[name])), ` ${name}`),
    ),
    ...(run.in_flight
      ? [make("li.in-flight", make("strong", number.format(run.in_flight)), " under way")]
      : []),
    ...(reused ? [reused] : []),
  );
}

/** Thousandths by count, with room for the smallest. */
function shares(counts) {
  const least = counts.map((n) => (n > 0 ? Math.max(n, sumOf(counts) * 0.006) : 0));
  const whole = sumOf(least) || 1;
  return least.map((n) => (1000 * n) / whole);
}

const sumOf = (all) => all.reduce((total, n) => total + n, 0);

/** What failed so far, as the page would tell it. */
function drawCauses() {
  const groups = causes(cards);
  byId("failures").hidden = !groups.length;
  const made = groups.map(([outcome, group]) =>
    make(
      "li",
      make(
        "h3",
        make("a", { href: `#outcome=${encoded(outcome)}` }, spaced(outcome)),
        " ",
        make("span.count", number.format(group.length)),
      ),
      make("p.example", foreign(group[0].error ?? "")),
      remedies.has(outcome) ? make("p.remedy", remedies.get(outcome)) : null,
    ),
  );
  const place = byId("causes");
  if (place.textContent !== made.map((one) => one.textContent).join(""))
    place.replaceChildren(...made);
}

/**
 * The charts anew, if they are looked at, and if nobody reads the figures of one; the last ones come
 * in any case.
 */
async function renewCharts({ isLast = false } = {}) {
  const place = byId("charts");
  const isRead = place.contains(document.activeElement) || place.querySelector("details[open]");
  if (!isLast && (isRead || !byId("drawer").open)) return;
  try {
    const answer = await fetch("./charts");
    if (answer.ok) replaceCharts(place, await answer.text());
  } catch {
    // The stream tells that the connection is lost.
  }
}

/** They are drawn by the server: our own markup, parsed apart from the page and moved over. */
function replaceCharts(place, text) {
  const idsOf = (selector) =>
    [...place.querySelectorAll(selector)].map((one) => one.closest("figure")?.id);
  const [open, [focused]] = [idsOf("details[open]"), idsOf(":focus")];
  const parsed = new DOMParser().parseFromString(text, "text/html");
  place.replaceChildren(...[...parsed.body.childNodes].map((node) => document.adoptNode(node)));
  const figures = (id) => byId(id)?.querySelector("details");
  for (const id of open) figures(id)?.setAttribute("open", "");
  if (focused) figures(focused)?.querySelector("summary").focus({ preventScroll: true });
}
