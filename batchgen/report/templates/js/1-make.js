"use strict";
// Elements and words. Text that somebody else wrote gets in by textContent and attributes alone.

const byId = (id) => document.getElementById(id);
const isThere = (value) => value !== null && value !== undefined && value !== false;

/**
 * An element: `make("p.quiet", {title: "…", click: f}, "words", other)`. Attributes may be left out;
 * of attributes and children, those that are not there are.
 */
function make(what, ...rest) {
  const [name] = what.split(".", 1);
  const element = document.createElement(name);
  if (name !== what) element.className = what.slice(name.length + 1).replaceAll(".", " ");
  return filled(element, rest);
}

/** The same, of a drawing. */
const draw = (name, ...rest) =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", name), rest);

function filled(element, [first, ...children]) {
  if (first?.constructor === Object) setAll(element, first);
  else add(element, first);
  children.forEach((child) => add(element, child));
  return element;
}

function setAll(element, attributes) {
  for (const name in attributes) {
    const value = attributes[name];
    if (typeof value === "function") element.addEventListener(name, value);
    else if (isThere(value)) element.setAttribute(name, value === true ? "" : value);
  }
}

function add(element, child) {
  if (Array.isArray(child)) child.forEach((one) => add(element, one));
  else if (isThere(child)) element.append(child);
}

/** Words of somebody else, which may run from right to left. */
const foreign = (text) => make("bdi", text);

function button(words, click, attributes = {}) {
  return make("button", { type: "button", click, ...attributes }, words);
}

const wellFormed = (text) => text.replace(/\p{Surrogate}/gu, "\ufffd");
const encoded = (text) => encodeURIComponent(wellFormed(text));

/** The address of a file beside the page. */
const href = (path) => `./${path.split("/").map(encoded).join("/")}`;

/** The address of a page elsewhere, if it is one of the web. */
function webAddress(uri) {
  try {
    return ["http:", "https:"].includes(new URL(uri).protocol) ? uri : null;
  } catch {
    return null;
  }
}

const cut = (text, most) => (text.length > most ? `${wellFormed(text.slice(0, most))}…` : text);
const spaced = (word) => word.replaceAll("_", " ");
const number = new Intl.NumberFormat("en");
const counted = (n, what, plural = `${what}s`) => `${number.format(n)} ${n === 1 ? what : plural}`;

/** Money as the rest of the page writes it: cents, or more digits where it is less than a cent. */
function usd(amount) {
  if (!isThere(amount)) return "unknown";
  const value = Number(amount);
  if (value !== 0 && Math.abs(value) < 0.01) return `$${value.toFixed(6).replace(/0+$/, "")}`;
  return `$${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

/** `4.2s`, `41m07s`, `3h02m`; `–` where nobody knows. */
function duration(seconds) {
  if (!isThere(seconds)) return "–";
  if (seconds < 60) return `${seconds.toFixed(1)}s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  const two = (n) => String(n).padStart(2, "0");
  if (minutes < 60) return `${minutes}m${two(Math.round(seconds) % 60)}s`;
  return `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
}

function fileSize(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 999_500) return `${Math.round(bytes / 1000)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

const moment = (at) => `${at.slice(0, 10)} ${at.slice(11, 19)}`;
const pixels = (image) => (image.width && image.height ? `${image.width}×${image.height}` : null);

/** What is kept in this browser. A page from disk may have no such place. */
const kept = {
  read(name) {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  },
  write(name, value) {
    try {
      localStorage.setItem(name, value);
      return true;
    } catch {
      return false;
    }
  },
};
