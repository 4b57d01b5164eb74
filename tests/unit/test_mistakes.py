"""Broken jobs, and what is said of them, word for word: the place, the field, and what to do."""
# ruff: noqa: E501 - the table reads best a message a line; braces are meant

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from batchgen.errors import JobError
from batchgen.manifest import Manifest, open_manifest
from batchgen.references import ReferenceLibrary
from tests.commands import batchgen

if TYPE_CHECKING:
    from collections.abc import Mapping

ITEMS = "defaults: {model: m}\nitems:\n"  # what follows begins on line 3


@dataclass(frozen=True)
class Broken:
    """A job, what is said of it, and the files beside it."""

    text: str | bytes
    said: list[str]
    name: str = "job.yaml"
    files: Mapping[str, str | bytes] = field(default_factory=dict)


# What begins like something else, or holds what ends it; where, and what is said of it.
NO_PLAIN_TEXT = [
    ("A sign: red", "3:17", "a ': ' inside plain text: put the whole text in quotes, or after >-"),
    *(
        (
            text,
            f"3:{column}",
            f"text that begins with {text[0]} and goes on after its end: put the whole text in quotes, or after >-",
        )
        for text, column in (
            ('"Hello" she said', 19),
            ("'it' is", 16),
            ("[a] cat", 15),
            ("{title}, a cat", 18),
            ('"a": b', 14),
        )
    ),
    ("*bold* cat", "3:11", "text that begins with * needs quotes"),
    (
        "*bold",
        "3:11",
        "*bold names no anchor (&bold) above it; text that begins with * needs quotes",
    ),
    ("& cat", "3:11", "text that begins with & needs quotes"),
    (
        "&a cat\n  other: &a dog",
        "4:10",
        "an anchor is defined twice; text that begins with & needs quotes",
    ),
    ("`a`", "3:11", "text that begins with ` needs quotes"),
    ("@a", "3:11", "text that begins with @ needs quotes"),
    ("%a", "3:11", "text that begins with % needs quotes"),
    ("!a!b c", "3:11", "text that begins with ! needs quotes"),
    ("p\n\tmodel: m", "4:1", "a tab: indent with spaces"),
    ('"never closed', "3:11", "a quote is opened here and never closed"),
    ("'never closed", "3:11", "a quote is opened here and never closed"),
    (
        "> cat",
        "3:11",
        "text after | or > begins on the next line; text that begins with | or > needs quotes",
    ),
    ("- a", "3:11", "no list can begin here; text that begins with - needs quotes"),
    ('"a \\q b"', "3:14", "a \\ in double quotes: write \\\\, or use single quotes"),
]

BROKEN = {
    "an unknown field": [
        Broken(
            ITEMS + "- {id: a, prompt: p}\nprovder: google\n",
            ["job.yaml:4:1: provder: unknown field; did you mean 'provider'?"],
        ),
        Broken(
            "item:\n- {id: a, prompt: p}\n",
            [
                "job.yaml:1:1: item: unknown field; did you mean 'items'?",
                "job.yaml:1:1: items: expected a list of items",
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, image_siez: 1K}\n",
            ["job.yaml:3:22: items[a].image_siez: unknown field; did you mean 'image_size'?"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, eahc: t.csv, matirx: {x: [1]}}\n",
            [
                "job.yaml:3:22: items[a].eahc: unknown field; did you mean 'each'?",
                "job.yaml:3:35: items[a].matirx: unknown field; did you mean 'matrix'?",
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, colour: red}\n",
            ["job.yaml:3:22: items[a].colour: unknown field"],
        ),
        Broken(
            ITEMS + "- {id: a, turns: [{prompt: p, refs: []}]}\n",
            ["job.yaml:3:31: items[a].turns[0].refs: unknown field"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: {path: hero.txt}}\n",
            [
                "job.yaml:3:19: items[a].prompt.file: expected text, found nothing",
                "job.yaml:3:20: items[a].prompt.path: unknown field",
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, references: [{path: photo.png, lable: x}]}\n",
            ["job.yaml:3:53: items[a].references[0].lable: unknown field; did you mean 'label'?"],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: p, safety_settings: [{category: harassment, treshold: off}]}\n",
            [
                "job.yaml:3:40: items[a].safety_settings[0].threshold: it is missing; expected one of BLOCK_LOW_AND_ABOVE, BLOCK_MEDIUM_AND_ABOVE, BLOCK_ONLY_HIGH, BLOCK_NONE, OFF",
                "job.yaml:3:63: items[a].safety_settings[0].treshold: unknown field; did you mean 'threshold'?",
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\ntimeouts: {conect: 3}\n",
            ["job.yaml:4:12: timeouts.conect: unknown field; did you mean 'connect'?"],
        ),
        Broken(
            "defaults: {model: m, promt: p}\nitems:\n- {id: a, prompt: p}\n",
            ["job.yaml:1:22: defaults.promt: unknown field"],
        ),
        *(
            Broken(
                f"defaults: {{model: m, {name}: x}}\nitems:\n- {{id: a, prompt: p}}\n",
                [f"job.yaml:1:22: defaults.{name}: it cannot be a default"],
            )
            for name in ("id", "prompt", "turns", "request", "copy", "each", "matrix", "exclude")
        ),
        Broken(
            '{"job": {"items": [], "limit": 3}}\n{"id": "a", "prompt": "p", "model": "m"}',
            [
                "job.jsonl:1:10: items: unknown field",
                "job.jsonl:1:23: limit: unknown field; did you mean 'limits'?",
            ],
            name="job.jsonl",
        ),
        Broken(
            '{"job": {}, "x": 1}\n{"id": "a", "prompt": "p", "model": "m"}',
            ["job.jsonl:1:13: x: unknown field"],
            name="job.jsonl",
        ),
        Broken(
            '{"id": "a", "prompt": "p", "model": "m", "sed": 4}',
            ["job.jsonl:1:42: items[a].sed: unknown field; did you mean 'seed'?"],
            name="job.jsonl",
        ),
        Broken(
            '{"id": "a", "prompt": "x\u2028y \\ud83d\\ude00", "model": "m", "sed": 4}',
            ["job.jsonl:1:57: items[a].sed: unknown field; did you mean 'seed'?"],
            name="job.jsonl",
        ),
    ],
    "a wrong type": [
        Broken(
            "[1, 2]",
            [
                "job.yaml:1:1: expected a mapping, found a list",
                "job.yaml:1:1: items: expected a list of items",
            ],
        ),
        Broken("items: 3", ["job.yaml:1:8: items: expected a list of items"]),
        Broken(
            ITEMS + "- 7\n", ["job.yaml:3:3: items[1]: expected an item (a mapping), found '7'"]
        ),
        Broken(
            ITEMS + "- {id: [a], prompt: p}\n",
            ["job.yaml:3:8: items[1].id: expected text, found a list; put it in quotes"],
        ),
        Broken(
            ITEMS + "- {id: {sku}, prompt: p}\n",
            ["job.yaml:3:8: items[1].id: expected text, found a mapping; put it in quotes"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: [p]}\n",
            ["job.yaml:3:19: items[a].prompt: expected text, found a list; put it in quotes"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: }\n",
            ["job.yaml:3:3: items[a]: prompt: it is missing; expected prompt, turns or request"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: ' '}\n",
            ["job.yaml:3:19: items[a].prompt: expected text, found only white space"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, tags: [x]}\n",
            ["job.yaml:3:28: items[a].tags: expected a mapping of words, found a list"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, tags: {x: [1]}}\n",
            ["job.yaml:3:32: items[a].tags.x: expected text, found a list; put it in quotes"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, references: photo.png}\n",
            ["job.yaml:3:34: items[a].references: expected a list of paths, found 'photo.png'"],
        ),
        Broken(
            ITEMS + "- {id: a, turns: {prompt: p}}\n",
            ["job.yaml:3:18: items[a].turns: expected a list of turns, found a mapping"],
        ),
        Broken(
            ITEMS + "- {id: a, turns: [p]}\n",
            ["job.yaml:3:19: items[a].turns[0]: expected a mapping, found 'p'"],
        ),
        Broken(
            ITEMS + "- {id: a, turns: []}\n",
            ["job.yaml:3:18: items[a].turns: expected a list of turns, found an empty list"],
        ),
        Broken(
            ITEMS + "- {id: a, request: [1]}\n",
            ["job.yaml:3:20: items[a].request: expected a body (a mapping), found a list"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, extra: [1]}\n",
            ["job.yaml:3:29: items[a].extra: expected a mapping, found a list"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, safety_settings: OFF}\n",
            [
                "job.yaml:3:39: items[a].safety_settings: expected categories with thresholds, found 'OFF'"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, safety_settings: [OFF]}\n",
            ["job.yaml:3:40: items[a].safety_settings[0]: expected a mapping, found 'OFF'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\ntimeouts: [1]\n",
            ["job.yaml:4:11: timeouts: expected a mapping, found a list"],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: p}\nprovider: {base_url: 'https://h', auth: bear, allow_http: perhaps, api_key_env: [x]}\n",
            [
                "job.yaml:4:41: provider.auth: 'bear' is not one of x-goog-api-key, bearer; did you mean 'bearer'?",
                "job.yaml:4:59: provider.allow_http: expected true or false, found 'perhaps'",
                "job.yaml:4:81: provider.api_key_env: expected text, found a list; put it in quotes",
            ],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: p}\nprovider: {base_url: 'https://h', api_key_env: sk-12345678}\n",
            [
                "job.yaml:4:48: provider.api_key_env: expected the name of an environment variable, not the key",
            ],
        ),
        Broken(
            '{"id": 7, "prompt": "p", "model": "m"}',
            ["job.jsonl:1:8: items[1].id: expected text, found 7; put it in quotes"],
            name="job.jsonl",
        ),
        Broken(
            '[1]\nnull\n"x"',
            [
                "job.jsonl:1:1: items[1]: expected an item (a mapping), found a list",
                "job.jsonl:2:1: items[2]: expected an item (a mapping), found nothing",
                "job.jsonl:3:1: items[3]: expected an item (a mapping), found 'x'",
            ],
            name="job.jsonl",
        ),
        Broken(
            '{"id": "a", "prompt": "\\ud83d\\ude00", "model": "m", "tags": {"t": 5}}',
            ["job.jsonl:1:67: items[a].tags.t: expected text, found 5; put it in quotes"],
            name="job.jsonl",
        ),
        Broken(
            '{"job": 3}\n{"id": "a", "prompt": "p", "model": "m"}',
            ["job.jsonl:1:9: expected a mapping, found 3"],
            name="job.jsonl",
        ),
        Broken(
            "id,prompt,model,tags,tags.x\na,p,m,foo,bar\n",
            ["job.csv:2:7: items[a].tags: expected a mapping of words, found 'foo'"],
            name="job.csv",
        ),
    ],
    "a wrong value": [
        Broken(
            ITEMS + "- {id: a, prompt: p, aspect_ratio: 9:17}\n",
            [
                "job.yaml:3:36: items[a].aspect_ratio: '9:17' is not one of 1:1, 2:3, 3:2, 3:4, 4:3, 4:5, 5:4, 9:16, 16:9, 21:9, 1:4, 4:1, 1:8, 8:1; did you mean '9:16'?"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, image_size: 8K}\n",
            [
                "job.yaml:3:34: items[a].image_size: '8K' is not one of 512, 1K, 2K, 4K; what is not listed goes into extra"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, modalities: [TEXT]}\n",
            ["job.yaml:3:34: items[a].modalities: expected [IMAGE] or [TEXT, IMAGE]"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, modalities: [IMAGE, IMAGES]}\n",
            [
                "job.yaml:3:42: items[a].modalities[1]: 'IMAGES' is not one of TEXT, IMAGE; did you mean 'IMAGE'?"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, modalities: [IMAGE, image]}\n",
            ["job.yaml:3:34: items[a].modalities: the same modality is named twice"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, thinking_level: hgh}\n",
            [
                "job.yaml:3:38: items[a].thinking_level: 'HGH' is not one of MINIMAL, LOW, MEDIUM, HIGH; did you mean 'HIGH'?"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, include_thoughts: 1}\n",
            ["job.yaml:3:40: items[a].include_thoughts: expected true or false, found '1'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, store: maybe}\n",
            ["job.yaml:3:29: items[a].store: expected true or false, found 'maybe'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, google_search: webb}\n",
            [
                "job.yaml:3:37: items[a].google_search: 'webb' is not one of web, image; did you mean 'web'?"
            ],
        ),
        Broken(
            '{"id": "a", "prompt": "p", "model": "m", "google_search": 1}',
            ["job.jsonl:1:59: items[a].google_search: 1 is not one of web, image"],
            name="job.jsonl",
        ),
        Broken(
            '{"id": "a", "prompt": "p", "model": "m", "google_search": 0}',
            ["job.jsonl:1:59: items[a].google_search: 0 is not one of web, image"],
            name="job.jsonl",
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, extra: {a: 0x" + "f" * 200_000 + "}}\n",
            ["job.yaml:3:29: items[a].extra: it holds a number that JSON has no word for"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, google_search: []}\n",
            [
                "job.yaml:3:37: items[a].google_search: expected true, web, image or [web, image], found an empty list"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, google_search: [web, x]}\n",
            [
                "job.yaml:3:43: items[a].google_search[1]: 'x' is not one of web, image; what is not listed goes into extra"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, safety_settings: {HARASMENT: OFF}}\n",
            [
                "job.yaml:3:51: items[a].safety_settings.HARASMENT: 'HARASMENT' is not one of HARASSMENT, HATE_SPEECH, SEXUALLY_EXPLICIT, DANGEROUS_CONTENT, CIVIC_INTEGRITY, JAILBREAK, IMAGE_HATE, IMAGE_DANGEROUS_CONTENT, IMAGE_HARASSMENT, IMAGE_SEXUALLY_EXPLICIT; did you mean 'HARASSMENT'?"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, safety_settings: {HARASSMENT: OF}}\n",
            [
                "job.yaml:3:52: items[a].safety_settings.HARASSMENT: 'OF' is not one of BLOCK_LOW_AND_ABOVE, BLOCK_MEDIUM_AND_ABOVE, BLOCK_ONLY_HIGH, BLOCK_NONE, OFF; did you mean 'OFF'?"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, safety_settings: [{category: HARASSMENT}]}\n",
            [
                "job.yaml:3:40: items[a].safety_settings[0].threshold: it is missing; expected one of BLOCK_LOW_AND_ABOVE, BLOCK_MEDIUM_AND_ABOVE, BLOCK_ONLY_HIGH, BLOCK_NONE, OFF"
            ],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: p, safety_settings: {harassment: off, HARM_CATEGORY_HARASSMENT: off}}\n",
            ["job.yaml:3:39: items[a].safety_settings: the same category is there twice"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, system_instruction: ''}\n",
            ["job.yaml:3:42: items[a].system_instruction: expected text, found only white space"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, extra: {contents: []}}\n",
            [
                "job.yaml:3:30: items[a].extra.contents: contents are what prompt, turns and references make; they cannot be in extra"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, extra: {a: 1e999}}\n",
            ["job.yaml:3:29: items[a].extra: it holds a number that JSON has no word for"],
        ),
        Broken(
            ITEMS + "- {id: ../a, prompt: p}\n",
            [
                "job.yaml:3:8: items[../a].id: '/' may not be in it; expected 1 to 180 letters, digits and . _ - : # or spaces"
            ],
        ),
        Broken(
            ITEMS + "- {id: '', prompt: p}\n",
            ["job.yaml:3:8: items[1].id: expected text, found only white space"],
        ),
        Broken(
            ITEMS + '- {id: "a\\tb", prompt: p}\n',
            [
                "job.yaml:3:8: items[1].id: '\\t' may not be in it; expected 1 to 180 letters, digits and . _ - : # or spaces"
            ],
        ),
        Broken(
            ITEMS + "- {id: '{x}', prompt: p}\n",
            [
                "job.yaml:3:8: items[{x}].id: '{' '}' may not be in it; expected 1 to 180 letters, digits and . _ - : # or spaces"
            ],
        ),
        Broken(
            ITEMS
            + "- {id: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, prompt: p}\n",
            [
                "job.yaml:3:8: items[1].id: 181 characters are too many; expected 1 to 180 letters, digits and . _ - : # or spaces"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\nprovider: goggle\n",
            [
                "job.yaml:4:11: provider: 'goggle' is not one of cometapi, google, emulator; did you mean 'google'? or write {base_url: …, api_key_env: …}"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\nprovider: {auth: bearer}\n",
            ["job.yaml:4:11: provider: base_url: it is missing"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\nprovider: {base_url: ftp://x}\n",
            [
                "job.yaml:4:22: provider.base_url: base URL 'ftp://x': expected https://HOST or https://HOST/PATH"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\nprovider: {base_url: http://10.0.0.1}\n",
            [
                "job.yaml:4:22: provider.base_url: base URL http://10.0.0.1: plain http would send the key in the clear; use https, or set provider.allow_http"
            ],
        ),
        Broken(
            ITEMS + '- {id: a, prompt: p}\nprovider: {base_url: "https://[oops"}\n',
            [
                "job.yaml:4:22: provider.base_url: base URL 'https://[oops': expected https://HOST or https://HOST/PATH"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\n",
            ["my job.yaml:1:1: name: the file's name 'my job' is no job name; write a name here"],
            name="my job.yaml",
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\nname: a b\n",
            [
                "job.yaml:4:7: name: 'a b' is no job name; expected 1 to 100 of A-Z a-z 0-9 . _ -, no dot first"
            ],
        ),
    ],
    "a number out of its range": [
        Broken(
            ITEMS + "- {id: a, prompt: p, temperature: 2.1}\n",
            ["job.yaml:3:35: items[a].temperature: expected a number from 0 to 2, found '2.1'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, temperature: hot}\n",
            ["job.yaml:3:35: items[a].temperature: expected a number, found 'hot'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, top_p: -1}\n",
            ["job.yaml:3:29: items[a].top_p: expected a number from 0 to 1, found '-1'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, top_k: 0}\n",
            [
                "job.yaml:3:29: items[a].top_k: expected a whole number from 1 to 2147483647, found '0'"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, seed: 3000000000}\n",
            [
                "job.yaml:3:28: items[a].seed: expected a whole number from -2147483648 to 2147483647, found '3000000000'"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, seed: 1_000}\n",
            ["job.yaml:3:28: items[a].seed: expected a whole number, found '1_000'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, reference_max_px: 8}\n",
            [
                "job.yaml:3:40: items[a].reference_max_px: expected a whole number from 16 to 16384, found '8'"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, count: 0}\n",
            ["job.yaml:3:29: items[a].count: expected a whole number from 1 to 100, found '0'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, count: 101}\n",
            ["job.yaml:3:29: items[a].count: expected a whole number from 1 to 100, found '101'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, count: 1.5}\n",
            ["job.yaml:3:29: items[a].count: expected a whole number, found '1.5'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, count: two}\n",
            ["job.yaml:3:29: items[a].count: expected a whole number, found 'two'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, copy: 0}\n",
            ["job.yaml:3:28: items[a].copy: expected a whole number from 1 to 100, found '0'"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\nlimits: {concurrency: 0, rpm: .inf, max_body_mib: 0}\n",
            [
                "job.yaml:4:23: limits.concurrency: expected auto, a whole number of at least 1, or MIN-MAX, found '0'",
                "job.yaml:4:31: limits.rpm: expected a number, found '.inf'",
                "job.yaml:4:51: limits.max_body_mib: expected a number of at least 0.001, found '0'",
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\nretries: {transport: -1, unsure: 1.5}\n",
            [
                "job.yaml:4:22: retries.transport: expected a whole number of at least 0, found '-1'",
                "job.yaml:4:34: retries.unsure: expected a whole number, found '1.5'",
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\ntimeouts: {idle: 0}\n",
            ["job.yaml:4:18: timeouts.idle: expected a number of at least 0.1, found '0'"],
        ),
        Broken(
            '{"job": {"limits": {"rpm": true}}}\n{"id": "a", "prompt": "p", "model": "m"}',
            ["job.jsonl:1:28: limits.rpm: expected a number, found true"],
            name="job.jsonl",
        ),
    ],
    "something missing, or too much of it": [
        Broken("", ["job.yaml:1:1: items: the job has no items"]),
        Broken("items: []\n", ["job.yaml:1:1: items: the job has no items"]),
        Broken(
            "items:\n- {id: a, prompt: p}\n",
            [
                "job.yaml:2:3: items[a]: model: no model is named; set it here, in defaults, or with --model"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, model: null}\n",
            [
                "job.yaml:3:3: items[a]: model: no model is named; set it here, in defaults, or with --model"
            ],
        ),
        Broken(ITEMS + "- {prompt: p}\n", ["job.yaml:3:3: items[1]: id: it is missing"]),
        Broken(
            ITEMS + "- {id: a}\n",
            ["job.yaml:3:3: items[a]: prompt: it is missing; expected prompt, turns or request"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, turns: [{prompt: p}]}\n",
            [
                "job.yaml:3:3: items[a]: expected one of prompt, turns and request, found prompt and turns"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, turns: [{references: [photo.png]}]}\n",
            ["job.yaml:3:19: items[a].turns[0]: prompt: it is missing"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, copy: 2, count: 2}\n",
            ["job.yaml:3:22: items[a].copy: it cannot stand beside count, which makes the copies"],
        ),
        Broken(
            ITEMS
            + "- {id: a, references: [photo.png], turns: [{prompt: p, references: [photo.png]}]}\n",
            [
                "job.yaml:3:23: items[a].references: the first turn has references of its own; put all there"
            ],
        ),
        Broken(
            ITEMS
            + "- {id: a, turns: [{prompt: p, references: [photo.png, photo.png, photo.png]}, {prompt: p, references: [photo.png, photo.png, photo.png]}, {prompt: p, references: [photo.png, photo.png, photo.png]}, {prompt: p, references: [photo.png, photo.png, photo.png]}, {prompt: p, references: [photo.png, photo.png, photo.png]}]}\n",
            ["job.yaml:3:18: items[a].turns: its turns hold more than 14 references in all"],
        ),
        Broken("", ["job.jsonl:1:1: items: the job has no items"], name="job.jsonl"),
        Broken(
            '{"id": "a", "prompt": "p", "model": "m"}\n{"job": {"name": "late"}}',
            ["job.jsonl:2:1: a job's settings can only be on line 1"],
            name="job.jsonl",
        ),
    ],
    "a raw request": [
        Broken(
            ITEMS + "- {id: a, request: {contents: x}}\n",
            ["job.yaml:3:20: items[a].request: contents: expected a list with something in it"],
        ),
        Broken(
            ITEMS + "- {id: a, request: {contents: []}}\n",
            ["job.yaml:3:20: items[a].request: contents: expected a list with something in it"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, request: {contents: [1]}}\n",
            [
                "job.yaml:3:3: items[a]: expected one of prompt, turns and request, found prompt and request"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, seed: 3, request: {contents: [1]}}\n",
            [
                "job.yaml:3:11: items[a].seed: it cannot stand beside request, which is the whole body"
            ],
        ),
        Broken(
            ITEMS
            + "- {id: a, request: {contents: [1], generation_config: {}, generationConfig: {}}}\n",
            [
                "job.yaml:3:20: items[a].request: generationConfig and generation_config are the same member: keep one"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, request: {contents: [1], generationConfig: {temperature: 1e999}}}\n",
            ["job.yaml:3:20: items[a].request: it holds a number that JSON has no word for"],
        ),
        Broken(
            '{"key": "k/1", "request": {"contents": []}, "model": "m"}',
            ["job.jsonl:1:27: items[k_1].request: contents: expected a list with something in it"],
            name="job.jsonl",
        ),
        Broken(
            '{"custom_id": "b", "method": "POST", "url": "/v1", "body": {"messages": []}, "model": "m"}',
            ["job.jsonl:1:1: items[b].request: contents: expected a list with something in it"],
            name="job.jsonl",
        ),
        Broken(
            '{"request": 5, "model": "m"}\n{"request": {"contents": [1]}, "tag": {}}',
            [
                "job.jsonl:1:13: items[line-1].request: expected a body (a mapping), found 5",
                "job.jsonl:2:1: items[line-2]: model: no model is named; set it here, in defaults, or with --model",
                "job.jsonl:2:32: items[line-2].tag: unknown field; did you mean 'tags'?",
            ],
            name="job.jsonl",
        ),
        Broken(
            '{"key": "a", "request": {"contents": [1], "model": "m"}}\n{"key": "a", "request": {"contents": [2], "model": "m"}}',
            ["job.jsonl:2:1: items[a].id: duplicate id 'a' (first on line 1)"],
            name="job.jsonl",
        ),
    ],
    "a key that is there twice": [
        Broken(
            ITEMS + "- {id: a, prompt: p}\nitems: [{id: b, prompt: p}]\n",
            ["job.yaml:4:1: duplicate key 'items' (first on line 2)"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\ndefaults: {model: n}\n",
            ["job.yaml:4:1: duplicate key 'defaults' (first on line 1)"],
        ),
        Broken(
            ITEMS + "- {id: a, id: b, prompt: p}\n",
            ["job.yaml:3:11: items[1]: duplicate key 'id' (first on line 3)"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, tags: {t: 1,\n   t: 2}}\n",
            ["job.yaml:4:4: items[1]: duplicate key 't' (first on line 3)"],
        ),
        Broken(
            '{"id": "a", "prompt": "p", "model": "m", "prompt": "q"}',
            ["job.jsonl:1:42: duplicate key 'prompt' (first on line 1)"],
            name="job.jsonl",
        ),
        Broken(
            f'{{"id": "a", "{"x" * 1_100}": "p", "id": "b"}}',
            ["job.jsonl:1:1: duplicate key"],
            name="job.jsonl",
        ),
        Broken(
            '{"id": "a", "prompt": "\\ud83d\\ude00", "model": "m", "tags": {"t": "u", "t": "v"}}',
            ["job.jsonl:1:72: duplicate key 't' (first on line 1)"],
            name="job.jsonl",
        ),
    ],
    "an id that is there twice": [
        Broken(
            ITEMS + "- {id: a, prompt: p}\n- {id: b, prompt: q}\n- {id: a, prompt: r}\n",
            ["job.yaml:5:8: items[a].id: duplicate id 'a' (first on line 3)"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, seed: x}\n- {id: a, prompt: q}\n",
            [
                "job.yaml:3:28: items[a].seed: expected a whole number, found 'x'",
                "job.yaml:4:8: items[a].id: duplicate id 'a' (first on line 3)",
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, count: 2}\n- {id: 'a#2', prompt: q}\n",
            ["job.yaml:4:8: items[a#2].id: duplicate id 'a#2' (first on line 3)"],
        ),
        Broken(
            '{"id": "a", "prompt": "p", "model": "m"}\n\n{"id": "a", "prompt": "q", "model": "m"}',
            ["job.jsonl:3:8: items[a].id: duplicate id 'a' (first on line 1)"],
            name="job.jsonl",
        ),
        Broken(
            "id,prompt,model\na,p,m\na,q,m\n",
            ["job.csv:3:1: items[a].id: duplicate id 'a' (first on line 2)"],
            name="job.csv",
        ),
        Broken(
            ITEMS + "- {id: x, prompt: '{a}', matrix: {a: [1, 2]}}\n",
            [
                "job.yaml:3:8: items[x].id: duplicate id 'x' (first on line 3); put what tells the items apart into the id"
            ],
        ),
        Broken(
            ITEMS + "- {id: '{a}', prompt: '{b}', each: t.csv}\n",
            [
                "t.csv:3:1: items[1].id: duplicate id '1' (first on line 2); put what tells the items apart into the id"
            ],
            files={"t.csv": "a,b\n1,x\n1,y\n"},
        ),
        Broken(
            ITEMS + "- {id: x, prompt: p}\n- {id: '{a}', prompt: '{b}', each: t.csv}\n",
            [
                "t.csv:2:1: items[x].id: duplicate id 'x' (first at job.yaml:3); put what tells the items apart into the id"
            ],
            files={"t.csv": "a,b\nx,q\n"},
        ),
    ],
    "ids that would share a file": [
        Broken(
            ITEMS + "- {id: a, prompt: p}\n- {id: A, prompt: q}\n",
            [
                "job.yaml:4:8: items[A].id: 'A' and 'a' (on line 3) would share a file name on some disks; rename one"
            ],
        ),
        Broken(
            ITEMS + "- {id: Straße, prompt: p}\n- {id: STRASSE, prompt: q}\n",
            [
                "job.yaml:4:8: items[STRASSE].id: 'STRASSE' and 'Straße' (on line 3) would share a file name on some disks; rename one"
            ],
        ),
        Broken(
            ITEMS + "- {id: café, prompt: p}\n- {id: café, prompt: q}\n",
            ["job.yaml:4:8: items[café].id: duplicate id 'café' (first on line 3)"],
        ),
        Broken(
            ITEMS + "- {id: 'Café', prompt: p}\n- {id: café, prompt: q}\n",
            [
                "job.yaml:4:8: items[café].id: 'café' and 'Café' (on line 3) would share a file name on some disks; rename one"
            ],
        ),
        Broken(
            ITEMS + "- {id: 'x:y', prompt: p}\n- {id: x_y, prompt: q}\n",
            [
                "job.yaml:4:8: items[x_y].id: 'x_y' and 'x:y' (on line 3) would share a file name on some disks; rename one"
            ],
        ),
        Broken(
            ITEMS + "- {id: spring-hero, prompt: p}\n- {id: Spring-Hero, prompt: q}\n",
            [
                "job.yaml:4:8: items[Spring-Hero].id: 'Spring-Hero' and 'spring-hero' (on line 3) would share a file name on some disks; rename one"
            ],
        ),
        Broken(
            '{"id": "spring-hero", "prompt": "p", "model": "m"}\n{"id": "SPRING-hero", "prompt": "q", "model": "m"}',
            [
                "job.jsonl:2:8: items[SPRING-hero].id: 'SPRING-hero' and 'spring-hero' (on line 1) would share a file name on some disks; rename one"
            ],
            name="job.jsonl",
        ),
    ],
    "a template": [
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{titel}'}\n",
            [
                "job.yaml:3:38: items[1].prompt: no column and no matrix name is 'titel'; did you mean 'title'?"
            ],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{colour}'}\n",
            [
                "job.yaml:3:38: items[1].prompt: no column and no matrix name is 'colour'; expected sku, title"
            ],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{title.upper}'}\n",
            [
                "job.yaml:3:38: items[1].prompt: {title.upper}: a value has no parts and no format; write {title}"
            ],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{title[0]}'}\n",
            [
                "job.yaml:3:38: items[1].prompt: {title[0]}: a value has no parts and no format; write {title}"
            ],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{title!r:>9}'}\n",
            [
                "job.yaml:3:38: items[1].prompt: {title!r:>9}: a value has no parts and no format; write {title}"
            ],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{}'}\n",
            ["job.yaml:3:38: items[1].prompt: {} names nothing; write {{ for a brace itself"],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: 'a { b'}\n",
            ["job.yaml:3:38: items[1].prompt: a { without its }; write {{ for a brace itself"],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: 'a } b'}\n",
            ["job.yaml:3:38: items[1].prompt: a } without its {; write }} for a brace itself"],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{a{b}'}\n",
            ["job.yaml:3:38: items[1].prompt: {a{b} names nothing; write {{ for a brace itself"],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS
            + "- {each: t.csv, id: '{sku}', prompt: p, references: ['{sku}.png', '{skuu}.png'], tags: {x: [{y: '{z}'}]}}\n",
            [
                "job.yaml:3:67: items[1].references[1]: no column and no matrix name is 'skuu'; did you mean 'sku'?",
                "job.yaml:3:97: items[1].tags.x[0].y: no column and no matrix name is 'z'; expected sku, title",
            ],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: {file: open.txt}}\n",
            [
                "job.yaml:3:38: items[1].prompt: no column and no matrix name is 'titel'; did you mean 'title'?"
            ],
            files={"t.csv": "sku,title\na,b\n", "open.txt": "A {sku} and a {titel}"},
        ),
        Broken(
            ITEMS + "- {each: t.jsonl, id: '{sku}', prompt: '{title}'}\n",
            [
                "t.jsonl:1:1: items[1]: this row has no 'title', which the item reads (read by job.yaml:3)",
                "t.jsonl:2:23: items[1]: a list cannot be put into a text ({title}) (read by job.yaml:3)",
            ],
            files={
                "t.jsonl": '{"sku": "a"}\n{"sku": "b", "title": ["x"]}\n{"sku": "c", "title": "t"}\n'
            },
        ),
        Broken(
            ITEMS + "- {each: [{sku: a, title: b}, {sku: c}], id: '{sku}', prompt: '{title}'}\n",
            ["job.yaml:3:31: items[1]: this row has no 'title', which the item reads"],
        ),
        Broken(
            ITEMS
            + "- {id: 'a{modalities}', prompt: p, matrix: {modalities: [[IMAGE], [TEXT, IMAGE]]}}\n",
            [
                "job.yaml:3:58: items[1].matrix.modalities[0]: a list cannot be put into a text ({modalities})",
                "job.yaml:3:67: items[1].matrix.modalities[1]: a list cannot be put into a text ({modalities})",
            ],
        ),
    ],
    "matrix, exclude and each": [
        Broken(
            ITEMS + "- {id: '{a}', prompt: p, matrix: [1]}\n",
            ["job.yaml:3:34: items[1].matrix: expected names with lists of values, found a list"],
        ),
        Broken(
            ITEMS + "- {id: '{a}', prompt: p, matrix: {a: [], b: 3, c: [1, 1], d: }}\n",
            [
                "job.yaml:3:38: items[1].matrix.a: expected a list of values, found an empty list",
                "job.yaml:3:45: items[1].matrix.b: expected a list of values, found '3'",
                "job.yaml:3:51: items[1].matrix.c: the same value is there twice",
                "job.yaml:3:62: items[1].matrix.d: expected a list of values, found nothing",
            ],
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: p, matrix: {sku: [1]}}\n",
            [
                "job.yaml:3:50: items[1].matrix.sku: 'sku' is a column of the table already; name it otherwise"
            ],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: p, exclude: 3}\n",
            ["job.yaml:3:50: items[1].exclude: expected a list of mappings, found '3'"],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: p, exclude: [{skuu: 1}, {}, 3]}\n",
            [
                "job.yaml:3:52: items[1].exclude[0].skuu: no column and no matrix name is 'skuu'; did you mean 'sku'?",
                "job.yaml:3:62: items[1].exclude[1]: it names nothing; expected names and values to leave out",
                "job.yaml:3:66: items[1].exclude[2]: expected a mapping, found '3'",
            ],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {id: x, prompt: p, exclude: [{sku: 1}]}\n",
            [
                "job.yaml:3:33: items[1].exclude[0].sku: no column and no matrix name is 'sku'; there are none"
            ],
        ),
        Broken(
            ITEMS + "- {id: x, prompt: p, matrix: {aspect_ratio: [1:1, 4:6]}}\n",
            [
                "job.yaml:3:8: items[x].id: duplicate id 'x' (first on line 3); put what tells the items apart into the id",
                "job.yaml:3:51: items[1].aspect_ratio: '4:6' is not one of 1:1, 2:3, 3:2, 3:4, 4:3, 4:5, 5:4, 9:16, 16:9, 21:9, 1:4, 4:1, 1:8, 8:1; did you mean '4:5'?",
            ],
        ),
        Broken(
            ITEMS + "- {each: nope.csv, id: '{sku}', prompt: '{x}'}\n",
            [
                "job.yaml:3:10: items[1].each: cannot read the table nope.csv: no such file or directory; did you mean 'pipe.csv'?"
            ],
        ),
        Broken(
            ITEMS + "- {each: tt.csv, id: '{sku}', prompt: '{x}'}\n",
            [
                "job.yaml:3:10: items[1].each: cannot read the table tt.csv: no such file or directory; did you mean 't.csv'?"
            ],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.cvs, id: '{sku}', prompt: p}\n",
            [
                "job.yaml:3:10: items[1].each: t.cvs is no table; expected .csv, .tsv, .jsonl or .ndjson; did you mean 't.csv'?"
            ],
            files={"t.csv": "sku,title\na,b\n"},
        ),
        Broken(
            ITEMS + "- {each: t.xlsx, id: '{sku}', prompt: p}\n",
            [
                "job.yaml:3:10: items[1].each: t.xlsx is no table; expected .csv, .tsv, .jsonl or .ndjson"
            ],
            files={"t.xlsx": "x"},
        ),
        Broken(
            ITEMS + "- {each: folder, id: a, prompt: p}\n",
            [
                "job.yaml:3:10: items[1].each: folder is no table; expected .csv, .tsv, .jsonl or .ndjson"
            ],
        ),
        Broken(
            ITEMS + "- {each: pipe.csv, id: a, prompt: p}\n",
            ["job.yaml:3:10: items[1].each: cannot read the table pipe.csv: it is no regular file"],
        ),
        Broken(
            ITEMS + "- {each: {a: b}, id: a, prompt: p}\n",
            ["job.yaml:3:10: items[1].each: expected text, found a mapping; put it in quotes"],
        ),
        Broken(
            ITEMS + "- {each: [], id: a, prompt: p}\n",
            ["job.yaml:3:10: items[1].each: the list has no rows"],
        ),
        Broken(
            ITEMS + "- {each: [3], id: a, prompt: p}\n",
            ["job.yaml:3:11: items[1].each[0]: expected a mapping, found '3'"],
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: p}\n",
            ["t.csv:1:1: items[1].each: the table has no rows (read by job.yaml:3)"],
            files={"t.csv": "sku\n"},
        ),
        Broken(
            ITEMS + "- {each: t.jsonl, id: '{sku}', prompt: p}\n",
            ["t.jsonl:1:1: items[1].each: the table has no rows (read by job.yaml:3)"],
            files={"t.jsonl": "\n\n"},
        ),
    ],
    "a row of a table that an item reads": [
        Broken(
            ITEMS + "- {each: lists/t.csv, id: '{sku}', prompt: p}\n",
            [
                "lists/t.csv:3:3: items[b].aspect_ratio: '4:6' is not one of 1:1, 2:3, 3:2, 3:4, 4:3, 4:5, 5:4, 9:16, 16:9, 21:9, 1:4, 4:1, 1:8, 8:1; did you mean '4:5'? (read by job.yaml:3)",
                "lists/t.csv:3:7: items[b].seed: expected a whole number, found 'x' (read by job.yaml:3)",
                "lists/t.csv:4:5: items[c].references[1]: photos.png does not exist; did you mean 'photo.png'? (read by job.yaml:3)",
            ],
            files={
                "lists/t.csv": "sku,aspect_ratio,seed,references\na,1:1,1,photo.png\nb,4:6,x,\nc,,,photo.png|photos.png\n"
            },
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{title}'}\n",
            [
                "t.csv:2:1: items[1]: 3 cells, and the header names 2 columns; quote cells that hold a delimiter (read by job.yaml:3)",
                "t.csv:3:1: items[1]: 1 cell, and the header names 2 columns; quote cells that hold a delimiter (read by job.yaml:3)",
            ],
            files={"t.csv": "sku,title\na,b,c\nb\nc,d\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{title}'}\n",
            [
                "t.csv:2:3: items[a].prompt: expected text, found only white space (read by job.yaml:3)"
            ],
            files={"t.csv": "sku,title\na,\nb,d\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{title}'}\n",
            [
                "t.csv:2:1: items[a/b].id: '/' may not be in it; expected 1 to 180 letters, digits and . _ - : # or spaces (read by job.yaml:3)",
                "t.csv:4:1: items[5\"].id: '\"' may not be in it; expected 1 to 180 letters, digits and . _ - : # or spaces (read by job.yaml:3)",
            ],
            files={"t.csv": 'sku,title\n"a/b","two\nlines"\n5",d\n'},
        ),
        Broken(
            ITEMS + "- {each: t.jsonl, id: '{sku}', prompt: p}\n",
            [
                "t.jsonl:1:1: items[1]: expected a row (an object), found a list (read by job.yaml:3)",
                "t.jsonl:2:1: items[1]: this line is no JSON: Expecting value (read by job.yaml:3)",
                "t.jsonl:3:12: items[1]: duplicate key 'sku' (first on line 3) (read by job.yaml:3)",
                "t.jsonl:4:1: items[1]: it holds half a character (a lone surrogate) (read by job.yaml:3)",
                "t.jsonl:5:1: items[1]: this line is no JSON: NaN is no number (read by job.yaml:3)",
                "t.jsonl:6:23: items[c].count: expected a whole number from 1 to 100, found '101' (read by job.yaml:3)",
            ],
            files={
                "t.jsonl": '[1]\nnope\n{"sku": 1, "sku": 2}\n{"sku": "\\ud800"}\n{"sku": NaN}\n{"sku": "c", "count": 101}\n'
            },
        ),
        Broken(
            ITEMS + "- {each: t.jsonl, id: '{sku}', prompt: p}\n",
            [
                "t.jsonl:2:13: items[1]: a byte that is no UTF-8: save the file as UTF-8 (read by job.yaml:3)"
            ],
            files={"t.jsonl": b'{"sku": "a"}\n{"sku": "caf\xe9"}\n'},
        ),
        Broken(
            ITEMS + "- {each: [{sku: a}, {sku: b, seed: x}], id: '{sku}', prompt: p}\n",
            ["job.yaml:3:36: items[b].seed: expected a whole number, found 'x'"],
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: {file: '{sku}.txt'}}\n",
            [
                "t.csv:3:1: items[her].prompt.file: cannot read the prompt her.txt: no such file or directory; did you mean 'hero.txt'? (read by job.yaml:3)"
            ],
            files={"t.csv": "sku\nhero\nher\n"},
        ),
        Broken(
            ITEMS
            + "- {each: t.csv, id: '{sku}', prompt: '{sku}', references: ['{sku}.png', nope.png], tags: {a: '{sku}', b: [1]}}\n",
            [
                "job.yaml:3:73: items[1].references[1]: nope.png does not exist",
                "job.yaml:3:106: items[1].tags.b: expected text, found a list; put it in quotes",
                "t.csv:3:1: items[phto].references[0]: phto.png does not exist; did you mean 'photo.png'? (read by job.yaml:3)",
            ],
            files={"t.csv": "sku\nphoto\nphto\n"},
        ),
        Broken(
            ITEMS + "- {each: t.jsonl, id: '{sku}-{x}', prompt: '{sku}{x}', matrix: {x: [x, y]}}\n",
            [
                "t.jsonl:2:14: items[1]: 'x' is a name of the matrix already; name it otherwise (read by job.yaml:3)"
            ],
            files={"t.jsonl": '{"sku": "a"}\n{"sku": "b", "x": "z"}\n'},
        ),
        Broken(
            ITEMS
            + "- {each: [{sku: a, tags: foo}], id: '{sku}', prompt: p, matrix: {tags.s: [x]}}\n",
            ["job.yaml:3:26: items[a].tags: expected a mapping of words, found 'foo'"],
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: p}\n",
            [
                "t.csv:3:5: items[b].tags.x: expected text, found only white space (read by job.yaml:3)"
            ],
            files={"t.csv": "sku,n,tags.x\na,1,y\nb,2, \n"},
        ),
        Broken(
            ITEMS + "- {each: t.jsonl, id: '{sku}', prompt: p}\n",
            [
                "t.jsonl:1:24: items[a].tags.x: expected text, found a list; put it in quotes (read by job.yaml:3)"
            ],
            files={"t.jsonl": '{"sku": "a", "tags.x": [1]}\n'},
        ),
        Broken(
            ITEMS + "- {each: [{sku: a, tags.x: [1]}], id: '{sku}', prompt: p}\n",
            ["job.yaml:3:28: items[a].tags.x: expected text, found a list; put it in quotes"],
        ),
        Broken(
            ITEMS + "- {id: '{n}', prompt: p, matrix: {n: [1, 2], tags.x: [[z]]}}\n",
            ["job.yaml:3:55: items[1].tags.x: expected text, found a list; put it in quotes"],
        ),
        Broken(
            ITEMS + "- {each: [{a: 1, b: x}, {a: 2, c: x}], id: '{a}', prompt: '{b}'}\n",
            ["job.yaml:3:25: items[1]: this row has no 'b', which the item reads"],
        ),
        Broken(
            ITEMS + "- {each: [{a: 1, name: x}, {a: 2, nmae: x}], id: '{a}', prompt: '{name}'}\n",
            [
                "job.yaml:3:28: items[1]: this row has no 'name', which the item reads; did you mean 'nmae'?"
            ],
        ),
        Broken(
            ITEMS + "- {each: t.jsonl, id: '{sku}', prompt: '{title}'}\n",
            [
                "t.jsonl:2:2: items[1]: this row has no 'title', which the item reads; did you mean 'tilte'? (read by job.yaml:3)"
            ],
            files={"t.jsonl": '{"sku": "a", "title": "x"}\n {"sku": "b", "tilte": "x"}\n'},
        ),
    ],
    "a table": [
        Broken(
            "", ["job.csv:1:1: the table is empty: its first row names the columns"], name="job.csv"
        ),
        Broken(
            "\n\n",
            ["job.csv:1:1: the table is empty: its first row names the columns"],
            name="job.csv",
        ),
        Broken("id,prompt,model\n", ["job.csv:1:1: items: the job has no items"], name="job.csv"),
        Broken(
            "id;prompt;model\na;p;m\n",
            [
                "job.csv:1:1: the columns are separated by ';': write ',' between them, or save as TSV"
            ],
            name="job.csv",
        ),
        Broken(
            "id,prompt,model,id\na,p,m,x\n",
            ["job.csv:1:17: two columns are named 'id'"],
            name="job.csv",
        ),
        Broken(
            "id,prompt,model,\na,p,m,\n", ["job.csv:1:17: column 4 has no name"], name="job.csv"
        ),
        Broken(
            "id,prompt,model,promt,colour,tags.\na,p,m,x,y,z\n",
            [
                "job.csv:1:17: promt: unknown column; did you mean 'prompt'? for a tag, write tags.promt",
                "job.csv:1:23: colour: unknown column; for a tag, write tags.colour",
                "job.csv:1:30: tags.: a tag needs a name: tags.NAME",
            ],
            name="job.csv",
        ),
        Broken(
            "\ufeffid,prompt,model,sed\na,p,m,1\n",
            ["job.csv:1:17: sed: unknown column; did you mean 'seed'? for a tag, write tags.sed"],
            name="job.csv",
        ),
        Broken(
            "id\tprompt\tmodel\na\tp\tm\nb\tp\n",
            [
                "job.tsv:3:1: 2 cells, and the header names 3 columns; quote cells that hold a delimiter"
            ],
            name="job.tsv",
        ),
        Broken(
            "id,prompt,model\na,p, with a comma,m\nb,p,m\n",
            [
                "job.csv:2:1: 4 cells, and the header names 3 columns; quote cells that hold a delimiter"
            ],
            name="job.csv",
        ),
        Broken(
            'id,prompt,model\na,"p"x,m\nb,p,m,n\n',
            [
                "job.csv:2:1: text after a cell's last quote: a quote inside a cell is written twice",
                "job.csv:3:1: 4 cells, and the header names 3 columns; quote cells that hold a delimiter",
            ],
            name="job.csv",
        ),
        Broken(
            'id,prompt,model\na,"p,m\nb,p,m\n',
            ["job.csv:2:1: a quote opens a cell and none ends it"],
            name="job.csv",
        ),
        Broken(
            "id,prompt,model\ra,p,m\r",
            ["job.csv:1:1: a carriage return outside quotes: save the table with other line ends"],
            name="job.csv",
        ),
        Broken(
            "id,prompt,model\na," + "p" * 2**20 + "p,m\nb,p,m,n\n",
            [
                "job.csv:2:1: a cell of more than 1,048,576 characters: is a quote not closed?",
                "job.csv:3:1: 4 cells, and the header names 3 columns; quote cells that hold a delimiter",
            ],
            name="job.csv",
        ),
        Broken(
            b"id,prompt,model\na,caf\xe9,m\nb,p,m,n\n",
            [
                "job.csv:2:6: a byte that is no UTF-8: save the file as UTF-8",
                "job.csv:3:1: 4 cells, and the header names 3 columns; quote cells that hold a delimiter",
            ],
            name="job.csv",
        ),
        Broken(
            "id,prompt,model\na,p,m\n,q,m\n",
            ["job.csv:3:1: items[2]: id: it is missing"],
            name="job.csv",
        ),
        Broken(
            'id,prompt,model,aspect_ratio\na,5" pipe,m,9:17\n',
            [
                "job.csv:2:13: items[a].aspect_ratio: '9:17' is not one of 1:1, 2:3, 3:2, 3:4, 4:3, 4:5, 5:4, 9:16, 16:9, 21:9, 1:4, 4:1, 1:8, 8:1; did you mean '9:16'?"
            ],
            name="job.csv",
        ),
        Broken(
            'id,prompt,model,seed\na,"two\nlines",m,x\n',
            ["job.csv:3:10: items[a].seed: expected a whole number, found 'x'"],
            name="job.csv",
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: p}\n",
            [
                "t.csv:1:1: items[1].each: the table is empty: its first row names the columns (read by job.yaml:3)"
            ],
            files={"t.csv": ""},
        ),
        Broken(
            ITEMS + "- {each: t.tsv, id: '{sku}', prompt: p}\n",
            ["t.tsv:1:5: items[1].each: two columns are named 'sku' (read by job.yaml:3)"],
            files={"t.tsv": "sku\tsku\n"},
        ),
    ],
    "text that is no YAML or JSON": [
        Broken(
            "a: [1,",
            [
                "job.yaml:2:1: this is no YAML: did not find expected node content while parsing a flow node"
            ],
        ),
        Broken(
            "a: 1\n---\nb: 2\n",
            [
                "job.yaml:2:1: this is no YAML: expected a single document in the stream but found another document"
            ],
        ),
        Broken(
            "items:\n\t- id: a\n",
            ["job.yaml:2:1: this is no YAML: a tab: indent with spaces"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, references: [@logo]}\n",
            ["job.yaml:3:35: this is no YAML: text that begins with @ needs quotes"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: *x}\n",
            [
                "job.yaml:3:19: this is no YAML: *x names no anchor (&x) above it; text that begins with * needs quotes"
            ],
        ),
        Broken("items: &a [*a]\n", ["job.yaml:1:8: items[1]: nested deeper than 64 levels"]),
        Broken("? [a]\n: b\n", ["job.yaml:1:3: a key must be a word"]),
        Broken(
            "items:\n- id: a\n prompt: p\n",
            [
                "job.yaml:3:2: this is no YAML: did not find expected key while parsing a block mapping: is it indented like those above it, and does a space follow each ':'?"
            ],
        ),
        Broken(
            "items: [a: 'b]",
            ["job.yaml:1:12: this is no YAML: a quote is opened here and never closed"],
        ),
        Broken("items: \x01", ["job.yaml:1:1: a character that YAML does not allow"]),
        Broken(
            ITEMS + "- {id: a, prompt: !!python/name:os.system p}\n",
            [
                "job.yaml:3:19: items[1]: the tag !!python/name:os.system means nothing here: leave it out, or write !!str for text"
            ],
        ),
        *(
            Broken(
                ITEMS + f"- {{id: a, prompt: {tag} 5}}\n",
                [
                    f"job.yaml:3:19: items[1]: the tag {tag} means nothing here: leave it out, or write !!str for text"
                ],
            )
            for tag in ("!", "!x", "!!int", "!!binary")
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, tags: !!str [x]}\n",
            ["job.yaml:3:28: items[1]: the tag !!str means nothing here: leave it out"],
        ),
        Broken(
            "items:\n- !!int 5: x\n",
            [
                "job.yaml:2:3: items[1]: the tag !!int means nothing here: leave it out, or write !!str for text"
            ],
        ),
        *(
            Broken(
                ITEMS + f"- {{id: a, prompt: p, <<: {merged}}}\n",
                [
                    "job.yaml:3:26: items[1]: << takes in a mapping, or a list of mappings: write <<: *NAME"
                ],
            )
            for merged in ("nonsense", "[p, q]", "[{seed: 1}, q]")
        ),
        *(
            Broken(
                f"items:\n- id: a\n  prompt: {text}\n  model: m\n",
                [f"job.yaml:{place}: this is no YAML: {message}"],
            )
            for text, place, message in NO_PLAIN_TEXT
        ),
        Broken(
            "items:\n- id: a\n\tprompt: p\n",
            ["job.yaml:3:1: this is no YAML: a tab: indent with spaces"],
        ),
        Broken(
            "items:\n- id: a\n  prompt\n",
            [
                "job.yaml:3:3: this is no YAML: a key needs ': ' after it, and a list's entry '- ' before it"
            ],
        ),
        Broken(
            "items:\n- id: a\n  prompt:p\n  model: m\n",
            [
                "job.yaml:3:3: this is no YAML: a key needs ': ' after it, and a list's entry '- ' before it"
            ],
        ),
        Broken(
            "items:\n- {id: a, prompt: what: ever}\n",
            [
                "job.yaml:2:23: this is no YAML: did not find expected ',' or '}' while parsing a flow mapping that is opened on line 2; put the whole text in quotes, or after >- if it is text"
            ],
        ),
        *(
            Broken("items: " + text, [f"job.yaml:{place}: nested deeper than 64 levels"])
            for text, place in (
                ("[" * 30_000, "1:71"),
                ("{a: " * 30_000, "1:260"),
                ("\n" + "- " * 30_000, "2:127"),
                ("\n" + "".join(" " * n + "a:\n" for n in range(100)), "66:65"),
            )
        ),
        *(
            Broken(
                f'{{"id": "a", "prompt": "p", "model": "m", "{name}": {{"a": {deep}}}}}',
                ["job.jsonl:1:1: this line is nested too deeply"],
                name="job.jsonl",
            )
            for name in ("extra", "request", "tags")
            for deep in ("[" * 64 + "]" * 64, "[" * 800 + "]" * 800)
        ),
        *(
            Broken(
                ITEMS + "- {each: t.jsonl, id: '{sku}', prompt: p}\n",
                ["t.jsonl:1:1: items[1]: this line is nested too deeply (read by job.yaml:3)"],
                files={"t.jsonl": f'{{"sku": "a", "extra": {{"a": {deep}}}}}\n'},
            )
            for deep in ("[" * 64 + "]" * 64, "[" * 800 + "]" * 800, "[" * 3_000 + "]" * 3_000)
        ),
        Broken(
            b"items:\n- {id: caf\xe9}\n",
            ["job.yaml:2:11: a byte that is no UTF-8: save the file as UTF-8"],
        ),
        Broken(
            b"\xff\xfei\x00t\x00", ["job.yaml:1:1: a byte that is no UTF-8: save the file as UTF-8"]
        ),
        Broken(
            '{"id": "a" "prompt": 1}',
            ["job.jsonl:1:12: this line is no JSON: JSON is malformed: expected ',' or '}'"],
            name="job.jsonl",
        ),
        Broken(
            '{"id": "a", "prompt": "p", "model": "m"}\n{"id": "b", \'x\': 1}\n{"id": "c", "prompt": "p", "model": "m",}\n{"id": "d", "prompt": NaN}\n{"id": ',
            [
                "job.jsonl:2:13: this line is no JSON: JSON is malformed: object keys must be strings",
                "job.jsonl:3:41: this line is no JSON: JSON is malformed: trailing comma in object",
                "job.jsonl:4:23: this line is no JSON: JSON is malformed: invalid character",
                "job.jsonl:5:7: this line is no JSON: it ends too early",
            ],
            name="job.jsonl",
        ),
        Broken(
            '{"id": "a"}\n["\n' + "[" * 3000 + "",
            [
                "job.jsonl:1:1: items[a]: prompt: it is missing; expected prompt, turns or request",
                "job.jsonl:1:1: items[a]: model: no model is named; set it here, in defaults, or with --model",
                "job.jsonl:2:3: this line is no JSON: JSON is malformed: invalid character",
                "job.jsonl:3:1: this line is nested too deeply",
            ],
            name="job.jsonl",
        ),
        Broken(
            b'{"id": "a", "prompt": "caf\xe9", "model": "m"}\n',
            ["job.jsonl:1:27: a byte that is no UTF-8: save the file as UTF-8"],
            name="job.jsonl",
        ),
        Broken(
            '{"id": "a", "prompt": "\\ud800", "model": "m"}',
            ["job.jsonl:1:30: it holds half a character (a lone surrogate)"],
            name="job.jsonl",
        ),
    ],
    "a prompt in a file": [
        Broken(
            ITEMS + "- {id: a, prompt: {file: nope}}\n",
            [
                "job.yaml:3:26: items[a].prompt.file: cannot read the prompt nope: no such file or directory"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: {file: her.txt}}\n",
            [
                "job.yaml:3:26: items[a].prompt.file: cannot read the prompt her.txt: no such file or directory; did you mean 'hero.txt'?"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: {file: binary.txt}}\n",
            [
                "job.yaml:3:26: items[a].prompt.file: cannot use the prompt binary.txt: it is no text"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: {file: latin.txt}}\n",
            [
                "job.yaml:3:26: items[a].prompt.file: cannot use the prompt latin.txt: its line 2 holds a byte that is no UTF-8"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: {file: large.txt}}\n",
            [
                "job.yaml:3:26: items[a].prompt.file: cannot use the prompt large.txt: it is larger than 1 MiB, too much for a prompt"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: {file: blank.txt}}\n",
            ["job.yaml:3:26: items[a].prompt.file: expected text, found only white space"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: {file: pipe}}\n",
            [
                "job.yaml:3:26: items[a].prompt.file: cannot read the prompt pipe: it is no regular file"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: {file: /proc/self/environ}}\n",
            [
                "job.yaml:3:26: items[a].prompt.file: cannot read the prompt /proc/self/environ: it is no regular file"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: {file: folder}}\n",
            [
                "job.yaml:3:26: items[a].prompt.file: cannot read the prompt folder: it is no regular file"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: {file: }}\n",
            ["job.yaml:3:26: items[a].prompt.file: expected text, found nothing"],
        ),
        Broken(
            ITEMS + "- {id: a, turns: [{prompt: p}, {prompt: {file: her.txt}}]}\n",
            [
                "job.yaml:3:48: items[a].turns[1].prompt.file: cannot read the prompt her.txt: no such file or directory; did you mean 'hero.txt'?"
            ],
        ),
    ],
    "a reference": [
        Broken(
            ITEMS + "- {id: a, prompt: p, references: [phto.png]}\n",
            [
                "job.yaml:3:35: items[a].references[0]: phto.png does not exist; did you mean 'photo.png'?"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, references: [PHOTO.PNG]}\n",
            [
                "job.yaml:3:35: items[a].references[0]: PHOTO.PNG does not exist; did you mean 'photo.png'?"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, references: [note.txt]}\n",
            [
                "job.yaml:3:35: items[a].references[0]: note.txt is no PNG, JPEG, WebP, HEIC or HEIF image"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, references: [empty.png]}\n",
            ["job.yaml:3:35: items[a].references[0]: empty.png is empty"],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: p, references: [folder, pipe, /proc/self/environ, /dev/zero]}\n",
            [
                "job.yaml:3:35: items[a].references[0]: folder is no regular file",
                "job.yaml:3:43: items[a].references[1]: pipe is no regular file",
                "job.yaml:3:49: items[a].references[2]: /proc/self/environ is no PNG, JPEG, WebP, HEIC or HEIF image",
                "job.yaml:3:69: items[a].references[3]: /dev/zero is no regular file",
            ],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: p, references: [photo.png, photo.png, photo.png, photo.png, photo.png, photo.png, photo.png, photo.png, photo.png, photo.png, photo.png, photo.png, photo.png, photo.png, photo.png]}\n",
            ["job.yaml:3:34: items[a].references: 15 references; expected at most 14"],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: p, references: ['http://h/x.png', 'ftp://h/x.png', 'file:///x.png', 'data:image/png;base64,AAAA']}\n",
            [
                "job.yaml:3:35: items[a].references[0]: http://h/x.png is not https; download the file and name its path",
                "job.yaml:3:53: items[a].references[1]: ftp://h/x.png is not https; download the file and name its path",
                "job.yaml:3:70: items[a].references[2]: file:… is not https; download the file and name its path",
                "job.yaml:3:87: items[a].references[3]: data:… is not https; download the file and name its path",
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, references: ['https://user:secret@h/x.png']}\n",
            [
                "job.yaml:3:35: items[a].references[0]: https://h/x.png holds a user name or password, and none is ever sent"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, references: ['http://h/x.png?sig=secret']}\n",
            [
                "job.yaml:3:35: items[a].references[0]: http://h/x.png is not https; download the file and name its path"
            ],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: p, references: ['https://', 'https://h:x/y', 'https://[h/y']}\n",
            [
                "job.yaml:3:35: items[a].references[0]: https:… names no host that can be looked up",
                "job.yaml:3:47: items[a].references[1]: https://… is no address that can be read",
                "job.yaml:3:64: items[a].references[2]: https://… is no address that can be read",
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, references: ['s3://bucket/../key.png', 's3://']}\n",
            [
                "job.yaml:3:35: items[a].references[0]: s3://bucket/key.png has an empty part, a '.' or a '..' in it",
                "job.yaml:3:61: items[a].references[1]: s3:… names no bucket: expected SCHEME://BUCKET/KEY",
            ],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: p, references: [{label: x}, {path: photo.png, url: 'https://h/x'}, {path: photo.png, label: ' '}, [photo.png]]}\n",
            [
                "job.yaml:3:35: items[a].references[0]: expected one of path, url, item, name, found none",
                "job.yaml:3:47: items[a].references[1]: expected one of path, url, item, name, found path and url",
                "job.yaml:3:111: items[a].references[2].label: expected text, found only white space",
                "job.yaml:3:117: items[a].references[3]: expected text, found a list; put it in quotes",
            ],
        ),
        Broken(
            ITEMS + '- {id: a, prompt: p, references: ["a\\0b"]}\n',
            ["job.yaml:3:35: items[a].references[0]: 'a\\x00b': a path cannot hold a NUL"],
        ),
        Broken(
            ITEMS + "- {id: a, turns: [{prompt: p}, {prompt: q, references: [phto.png]}]}\n",
            [
                "job.yaml:3:57: items[a].turns[1].references[0]: phto.png does not exist; did you mean 'photo.png'?"
            ],
        ),
    ],
    "a reference by name": [
        Broken(
            ITEMS + "- {id: a, prompt: p, references: ['@logo']}\n",
            [
                "job.yaml:3:35: items[a].references[0]: no reference is named 'logo'; the job names none under `references`"
            ],
        ),
        Broken(
            "references: {logo: photo.png}\ndefaults: {model: m}\nitems:\n- {id: a, prompt: p, references: ['@lgo', {name: Logo}]}\n",
            [
                "job.yaml:4:35: items[a].references[0]: no reference is named 'lgo'; did you mean 'logo'?",
                "job.yaml:4:50: items[a].references[1].name: no reference is named 'Logo'; did you mean 'logo'?",
            ],
        ),
        Broken(
            "references: {logo: phto.png}\ndefaults: {model: m}\nitems:\n- {id: a, prompt: p, references: ['@logo']}\n",
            ["job.yaml:1:20: references.logo: phto.png does not exist; did you mean 'photo.png'?"],
        ),
        Broken(
            "references: {a: 'item:x', b: [1], c: 'http://h', d: {path: p, url: q}, e: '@a'}\ndefaults: {model: m}\nitems:\n- {id: a, prompt: p}\n",
            [
                "job.yaml:1:17: references.a: an item cannot be named here; write item:ID where it is used",
                "job.yaml:1:30: references.b: expected text, found a list; put it in quotes",
                "job.yaml:1:38: references.c: http://h/ is not https; download the file and name its path",
                "job.yaml:1:53: references.d: expected one of path, url, item, name, found path and url",
                "job.yaml:1:75: references.e: no reference is named 'a'; the job names none under `references`",
            ],
        ),
    ],
    "items that build on items": [
        Broken(
            ITEMS + "- {id: hero, prompt: p}\n- {id: b, prompt: b, references: ['item:her']}\n",
            [
                "job.yaml:4:35: items[b].references[0]: no item has the id 'her'; did you mean 'hero'?"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: a, references: ['item:a']}\n",
            ["job.yaml:3:35: items[a].references[0]: it builds on itself: a → a"],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: a, references: ['item:b']}\n- {id: b, prompt: b, references: ['item:a']}\n",
            ["job.yaml:3:35: items[a].references[0]: it builds on itself: a → b → a"],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: a, references: ['item:b']}\n- {id: b, prompt: b, references: ['item:c']}\n- {id: c, turns: [{prompt: p}, {prompt: q, references: ['item:a']}]}\n",
            ["job.yaml:3:35: items[a].references[0]: it builds on itself: a → b → c → a"],
        ),
        Broken(
            ITEMS
            + "- {id: a, count: 2, prompt: p, references: ['item:b']}\n- {id: b, prompt: b, references: ['item:a']}\n",
            ["job.yaml:3:45: items[a#1].references[0]: it builds on itself: a#1 → b → a#1"],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: a, references: ['item:b/c']}\n",
            [
                "job.yaml:3:35: items[a].references[0]: '/' may not be in it; expected 1 to 180 letters, digits and . _ - : # or spaces"
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p, references: [{item: b, label: x}]}\n",
            ["job.yaml:3:35: items[a].references[0]: no item has the id 'b'"],
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{sku}', references: ['item:{up}']}\n",
            ["t.csv:3:3: items[b].references[0]: no item has the id 'c'"],
            files={"t.csv": "sku,up\na,b\nb,c\n"},
        ),
        Broken(
            ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{sku}', references: ['item:hero']}\n",
            ["job.yaml:3:60: items[a].references[0]: no item has the id 'hero'"],
            files={"t.csv": "sku,up\na,b\nb,c\n"},
        ),
        Broken(
            ITEMS
            + "- {id: x, id: hero, prompt: p}\n- {id: b, prompt: b, references: ['item:hero']}\n",
            ["job.yaml:3:11: items[1]: duplicate key 'id' (first on line 3)"],
        ),
    ],
    "several at once": [
        Broken(
            ITEMS
            + "- {id: a, prompt: p, seed: x, references: [nope.png, photo.png]}\n- {id: b, sed: 1, turns: [{prompt: p, references: [phto.png]}]}\n",
            [
                "job.yaml:3:28: items[a].seed: expected a whole number, found 'x'",
                "job.yaml:3:44: items[a].references[0]: nope.png does not exist",
                "job.yaml:4:11: items[b].sed: unknown field; did you mean 'seed'?",
                "job.yaml:4:52: items[b].turns[0].references[0]: phto.png does not exist; did you mean 'photo.png'?",
            ],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: p, seed: x, image_size: 3K}\n- {id: b, id: c}\n- {id: d, propmt: p}\n- {id: e, prompt: p, tags: 3}\n",
            [
                "job.yaml:3:28: items[a].seed: expected a whole number, found 'x'",
                "job.yaml:3:43: items[a].image_size: '3K' is not one of 512, 1K, 2K, 4K; what is not listed goes into extra",
                "job.yaml:4:11: items[2]: duplicate key 'id' (first on line 4)",
                "job.yaml:5:3: items[d]: prompt: it is missing; expected prompt, turns or request",
                "job.yaml:5:11: items[d].propmt: unknown field; did you mean 'prompt'?",
                "job.yaml:6:28: items[e].tags: expected a mapping of words, found '3'",
            ],
        ),
        Broken(
            "id,prompt,model,seed\na,p,m,x\nb,p\nc,p,m,y\n",
            [
                "job.csv:2:7: items[a].seed: expected a whole number, found 'x'",
                "job.csv:3:1: 2 cells, and the header names 4 columns; quote cells that hold a delimiter",
                "job.csv:4:7: items[c].seed: expected a whole number, found 'y'",
            ],
            name="job.csv",
        ),
        Broken(
            '{"id": "a"}\nnope\n{"id": "b", "prompt": 3}',
            [
                "job.jsonl:1:1: items[a]: prompt: it is missing; expected prompt, turns or request",
                "job.jsonl:1:1: items[a]: model: no model is named; set it here, in defaults, or with --model",
                "job.jsonl:2:5: this line is no JSON: JSON is malformed: invalid character",
                "job.jsonl:3:1: items[b]: model: no model is named; set it here, in defaults, or with --model",
                "job.jsonl:3:23: items[b].prompt: expected text, found 3; put it in quotes",
            ],
            name="job.jsonl",
        ),
    ],
    "who is told": [
        Broken(
            ITEMS + "- {id: a, prompt: p}\nnotify: {on: never, url: x}\n",
            [
                "job.yaml:4:14: notify.on: 'never' is not one of change, failure, always",
                "job.yaml:4:21: notify.url: unknown field; did you mean 'url_env'?",
            ],
        ),
        Broken(
            ITEMS
            + "- {id: a, prompt: p}\nnotify: {url_env: 'https://hook.invalid/x', service: irc}\n",
            [
                (
                    "job.yaml:4:19: notify.url_env: expected the name of an environment variable, not "
                    "the address"
                ),
                "job.yaml:4:54: notify.service: 'irc' is not one of slack, discord, teams, ntfy, json",
            ],
        ),
        Broken(
            ITEMS + "- {id: a, prompt: p}\nnotify: https://hook.invalid/x\n",
            [
                (
                    "job.yaml:4:9: notify: expected {url_env: VARIABLE, on: …}; the address is kept in "
                    "a variable"
                ),
            ],
        ),
    ],
}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that a job may name, rightly or not."""
    folder = tmp_path_factory.mktemp("stock")
    Image.new("RGB", (4, 4), "teal").save(folder / "photo.png")
    (folder / "hero.txt").write_text("A hero")
    (folder / "note.txt").write_text("no picture")
    (folder / "blank.txt").write_text("\n")
    (folder / "empty.png").touch()
    (folder / "binary.txt").write_bytes(b"\0\1\2")
    (folder / "latin.txt").write_bytes(b"ok\ncaf\xe9")
    (folder / "large.txt").write_text("x" * (2**20 + 1))
    return folder


@pytest.fixture
def desk(stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with these files in it, which the paths in messages start from."""
    shutil.copytree(stock, tmp_path, dirs_exist_ok=True)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, content: str | bytes) -> Path:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return Path(path)


def read_through(manifest: Manifest, on: date | None = None) -> Manifest:
    for _ in manifest.items(ReferenceLibrary(), on=on):
        pass
    return manifest


def errors_of(job: Path) -> list[str]:
    try:
        manifest = read_through(open_manifest(job))
    except JobError as error:
        return [str(problem) for problem in error.problems]
    return [str(problem) for problem in manifest.problems.sorted_errors]


def warnings_of(job: Path, on: date | None = None) -> list[str]:
    problems = read_through(open_manifest(job), on).problems
    assert [str(problem) for problem in problems.sorted_errors] == []
    return [str(problem) for problem in problems.warnings]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(one, id=f"{kind}-{n}")
        for kind, ones in BROKEN.items()
        for n, one in enumerate(ones, 1)
    ],
)
@pytest.mark.usefixtures("desk")
def test_a_mistake_is_told_with_its_place_and_its_remedy(broken: Broken) -> None:
    for path, content in broken.files.items():
        write(path, content)
    job = write(broken.name, broken.text)
    assert errors_of(job) == broken.said


@pytest.mark.usefixtures("desk")
def test_a_job_that_is_not_there_or_no_file_is_told() -> None:
    gone, folder = (
        "cannot read the job file: No such file or directory",
        "cannot read the job file: Is a directory",
    )
    assert errors_of(Path("none.yaml")) == [f"none.yaml:1:1: {gone}"]
    assert errors_of(Path("none.jsonl")) == [f"none.jsonl:1:1: {gone}"]
    assert errors_of(Path("none.csv")) == [f"none.csv:1:1: {gone}"]
    assert errors_of(Path("folder")) == [f"folder:1:1: {folder}"]


# --- through the command ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_bad", "more"), [(50, []), (51, ["… and 1 more"]), (1_200, ["… and 1150 more"])]
)
def test_fifty_errors_are_shown_and_the_rest_is_counted(
    desk: Path, n_bad: int, more: list[str]
) -> None:
    lines = [f'{{"id": "i{n}", "prompt": "p", "model": "m", "seed": "x"}}\n' for n in range(n_bad)]
    write("job.jsonl", "".join(lines))
    done = batchgen("validate", desk / "job.jsonl")
    expected = [
        f"{desk}/job.jsonl:{n + 1}:{len(line) - 4}: items[i{n}].seed: expected a whole number, found 'x'"
        for n, line in enumerate(lines[:50])
    ]
    total = f"{n_bad:,} items, {n_bad:,} errors, 0 warnings"
    assert done.err.splitlines() == [*expected, *more, total]
    assert (done.code, done.out) == (3, "")


def test_a_program_reads_errors_and_warnings_as_json(desk: Path) -> None:
    items = "- {id: a, prompt: p}\n- {id: b, prompt: p}\n- {id: c, prompt: q, image_siez: 1K}\n"
    job = desk / write("job.yaml", ITEMS + items)
    done = batchgen("validate", "--json", job)
    twin = "it asks for the same picture as 'a' (on line 3) and gets a copy of it; for several of one kind write count"
    assert json.loads(done.out) == {
        "errors": [
            {
                "path": str(job),
                "line": 5,
                "column": 22,
                "field": "items[c].image_siez",
                "message": "unknown field; did you mean 'image_size'?",
            }
        ],
        "warnings": [
            {"path": str(job), "line": 4, "column": 3, "field": "items[b]", "message": twin}
        ],
        "items": 3,
    }
    assert (done.code, done.err) == (3, "3 items, 1 error, 1 warning\n")


def test_a_good_job_has_nothing_to_be_told_of(desk: Path) -> None:
    job = desk / write("job.yaml", ITEMS + "- {id: a, prompt: p, count: 2}\n")
    done = batchgen("validate", "--json", job)
    assert json.loads(done.out) == {"errors": [], "warnings": [], "items": 2}
    assert (done.code, done.err) == (0, "2 items, 0 errors, 0 warnings\n")


def test_the_errors_of_several_jobs_come_in_their_order(desk: Path) -> None:
    write("one.yaml", ITEMS + "- {id: a}\n")
    write("two.csv", "id;prompt\n")
    done = batchgen("validate", desk / "one.yaml", desk / "none.yaml", desk / "two.csv")
    assert done.err.splitlines() == [
        f"{desk}/one.yaml:3:3: items[a]: prompt: it is missing; expected prompt, turns or request",
        f"{desk}/none.yaml:1:1: cannot read the job file: No such file or directory",
        f"{desk}/two.csv:1:1: the columns are separated by ';': write ',' between them, or save as TSV",
        "1 item, 3 errors, 0 warnings",
    ]
    assert done.code == 3


# --- warnings ---------------------------------------------------------------------------------

TODAY = date(2026, 11, 22)


@pytest.mark.usefixtures("desk")
def test_warnings_are_counted_beyond_those_that_are_kept() -> None:
    lines = [
        f'{{"id": "{name}{n}", "prompt": "p{n}", "model": "m"}}\n'
        for n in range(1_500)
        for name in "ab"
    ]
    done = batchgen("validate", write("job.jsonl", "".join(lines)))
    assert done.err.splitlines()[-2:] == [
        "… and 1450 more",
        "3,000 items, 0 errors, 1,500 warnings",
    ]


@pytest.mark.usefixtures("desk")
def test_items_that_ask_for_the_same_are_a_warning() -> None:
    write("t.csv", "sku\nc\nd\n")
    job = write(
        "job.yaml",
        ITEMS
        + "- {id: a, prompt: p}\n- {id: b, prompt: p, tags: {x: y}}\n- {each: t.csv, id: '{sku}', prompt: p}\n",
    )
    assert warnings_of(job) == [
        "job.yaml:4:3: warning: items[b]: it asks for the same picture as 'a' (on line 3) and gets a copy of it; for several of one kind write count",
        "t.csv:2:1: warning: items[c]: it asks for the same picture as 'a' (at job.yaml:3) and gets a copy of it; for several of one kind write count (and 1 more like it)",
    ]


@pytest.mark.usefixtures("desk")
def test_copies_of_one_item_are_no_twins() -> None:
    assert warnings_of(write("job.yaml", ITEMS + "- {id: a, prompt: p, count: 3}\n")) == []


MISMATCHES = [
    "1:77: warning: items[i0].aspect_ratio: gemini-3-pro-image does not make 1:8; it is sent as written and will probably be refused (and 2 more like it)",
    "1:98: warning: items[i0].image_size: gemini-3-pro-image makes 1K, 2K and 4K only; 512 is sent as written and will probably be refused (and 2 more like it)",
]


@pytest.mark.usefixtures("desk")
def test_what_a_model_does_not_take_is_a_warning_that_is_counted_once() -> None:
    lines = [
        f'{{"id": "i{n}", "prompt": "p{n}", "model": "gemini-3-pro-image", "aspect_ratio": "1:8", "image_size": "512"}}\n'
        for n in range(3)
    ]
    assert warnings_of(write("job.jsonl", "".join(lines)), TODAY) == [
        f"job.jsonl:{one}" for one in MISMATCHES
    ]


@pytest.mark.usefixtures("desk")
def test_warnings_of_an_expanded_item_stand_where_their_value_does() -> None:
    item = "- {id: '{n}', prompt: '{n}', model: gemini-3-pro-image, matrix: {n: [1, 2], aspect_ratio: [1:8]}}\n"
    assert warnings_of(write("job.yaml", "items:\n" + item), TODAY) == [
        "job.yaml:2:92: warning: items[1].aspect_ratio: gemini-3-pro-image does not make 1:8; it is sent as written and will probably be refused (and 1 more like it)"
    ]


@pytest.mark.usefixtures("desk")
def test_an_exclude_that_matches_nothing_is_a_warning() -> None:
    item = "- {id: '{a}', prompt: '{a}', matrix: {a: [1, 2]}, exclude: [{a: 1}, {a: 3}]}\n"
    assert warnings_of(write("job.yaml", ITEMS + item)) == [
        "job.yaml:3:69: warning: items[1].exclude[1]: it matches no row and no combination"
    ]


def picture_of(size_bytes: int) -> bytes:
    """What begins like a picture; nothing behind it takes room on the disk."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(size_bytes - 16)


@pytest.mark.usefixtures("desk")
def test_a_large_request_is_a_warning_and_one_beyond_the_limit_an_error() -> None:
    write("large.png", picture_of(14 << 20))
    item = "- {id: a, prompt: p, references: [large.png]}\n"
    assert warnings_of(write("job.yaml", ITEMS + item)) == [
        "job.yaml:3:34: warning: items[a].references: its request is 19 MiB; services begin to refuse at 20: set reference_max_px, or send fewer references"
    ]
    limits = "limits: {max_body_mib: 18.5}\n"
    assert errors_of(write("job.yaml", limits + ITEMS + item)) == [
        "job.yaml:4:34: items[a].references: its request is 18.7 MiB, and limits.max_body_mib is 18.5: set reference_max_px, or send fewer references"
    ]
    assert warnings_of(write("job.yaml", "limits: {max_body_mib: null}\n" + ITEMS + item)) != []


@pytest.mark.usefixtures("desk")
def test_a_request_just_below_eighteen_mebibytes_is_no_warning() -> None:
    write("large.png", picture_of(13 << 20))
    assert (
        warnings_of(write("job.yaml", ITEMS + "- {id: a, prompt: p, references: [large.png]}\n"))
        == []
    )


# --- within reason ----------------------------------------------------------------------------


@pytest.mark.usefixtures("desk")
def test_the_nearest_name_is_not_looked_for_a_thousand_times() -> None:
    names = [f"photo-{n:05}.png" for n in range(1_000)]
    for name in names:
        Path("folder", name).touch()
    lines = [
        f'{{"id": "i{n}", "prompt": "p", "model": "m", "references": ["folder/{name}.jpg"]}}\n'
        for n, name in enumerate(names)
    ]
    problems = read_through(open_manifest(write("job.jsonl", "".join(lines)))).problems
    assert problems.n_errors == 1_000
    messages = [problem.message for problem in problems.sorted_errors]
    assert (
        messages[0]
        == "folder/photo-00000.png.jpg does not exist; did you mean 'folder/photo-00000.png'?"
    )
    assert messages[999] == "folder/photo-00999.png.jpg does not exist"
    assert sum("did you mean" in message for message in messages) == 50


MANY = 40_000
MANY_NAMES = ", ".join(f"field{n}: x" for n in range(MANY))
MANY_JSON = ", ".join(f'"field{n}": "x"' for n in range(MANY))


@pytest.mark.usefixtures("desk")
@pytest.mark.timeout(10)  # they take two seconds; what took a minute was quadratic
@pytest.mark.parametrize(
    ("name", "text", "n_errors"),
    [
        ("job.yaml", ITEMS + f"- {{id: a, prompt: p, {MANY_NAMES}}}\n", MANY),
        (
            "job.yaml",
            ITEMS + f"- {{id: a, prompt: p}}\n{MANY_NAMES.replace(', ', chr(10))}\n",
            MANY,
        ),
        (
            "job.yaml",
            f"defaults: {{model: m, {MANY_NAMES}}}\nitems: [{{id: a, prompt: p}}]\n",
            MANY,
        ),
        ("job.jsonl", f'{{"id": "a", "prompt": "p", "model": "m", {MANY_JSON}}}\n', MANY),
        ("job.csv", f"id,prompt,model,{MANY_NAMES}\n".replace(": x", ""), MANY),
        ("job.csv", "id,prompt,model,seed\n" + "".join(f"i{n},p,m,x\n" for n in range(MANY)), MANY),
        (
            "job.yaml",
            ITEMS
            + "- {id: '{n}', prompt: '{n}', matrix: {n: ["
            + ", ".join(map(str, range(MANY)))
            + "]}, exclude: ["
            + ", ".join(f"{{n: {n}}}" for n in range(1, 1_000))
            + "]}\n- {id: a, prompt: p, seed: x}\n",
            1,
        ),
    ],
    ids=["an item", "a head", "defaults", "a line", "a header", "rows", "exclude"],
)
def test_what_is_there_many_times_takes_no_time_squared(
    name: str, text: str, n_errors: int
) -> None:
    problems = read_through(open_manifest(write(name, text))).problems
    assert (problems.n_errors, len(problems.errors)) == (n_errors, min(n_errors, 1_000))


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("is_table", [False, True])
def test_a_line_of_more_than_64_mebibytes_is_not_read(*, is_table: bool) -> None:
    lines = Path("long.jsonl")
    with lines.open("wb") as file:
        file.write(b'{"id": "a", "prompt": "p", "model": "m"}\n')
        file.truncate(200 << 20)  # a hole, which takes no room on the disk
        file.seek(200 << 20)
        file.write(b'\n{"id": "b", "prompt": "p", "model": "m", "seed": "x"}\n')
    job = write("job.yaml", "items: [{each: long.jsonl}]") if is_table else lines
    read_by = " (read by job.yaml:1)" if is_table else ""
    owner = "items[1]: " if is_table else ""
    assert errors_of(job) == [
        f"long.jsonl:2:1: {owner}a line of more than 64 MiB{read_by}",
        f"long.jsonl:3:50: items[b].seed: expected a whole number, found 'x'{read_by}",
    ]


@pytest.mark.usefixtures("desk")
def test_a_line_of_a_table_that_is_too_long_is_not_read() -> None:
    with Path("long.csv").open("wb") as file:
        file.write(b"id,prompt,model,seed\na,p,m,1\n")
        file.truncate(200 << 20)
        file.seek(200 << 20)
        file.write(b"\nb,p,m,x\n")
    assert errors_of(Path("long.csv")) == [
        "long.csv:3:1: a line of more than 64 MiB",
        "long.csv:4:7: items[b].seed: expected a whole number, found 'x'",
    ]


def test_standard_input_that_is_closed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)  # what Python makes of `<&-`
    assert errors_of(Path("-")) == ["stdin:1:1: standard input is closed"]


@pytest.mark.usefixtures("desk")
def test_a_message_stays_short_and_on_one_line_whatever_was_written() -> None:
    odd = ["x" * 10_000, "a\nb", "c\u2028d", "\x1b[31m", "s" * 300 + "\n"]
    lines = [
        json.dumps({"id": word, "prompt": "p", "model": "m", "seed": word, "sed": 1}) + "\n"
        for word in odd
    ]
    messages = errors_of(write("job.jsonl", "".join(lines)))
    assert len(messages) == 3 * len(odd)
    assert all(message.isprintable() and len(message) < 300 for message in messages)
