"""Answers that need no drawing: what a rule asks for, and what stands at other addresses."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from batchgen.emulator import errors, faults, models
from batchgen.emulator.errors import Refusal

_LIST = re.compile(r"/(?:v1|v1beta)/models(?:/(?P<model>[^:]+))?/?")
_METHOD = re.compile(r"/(?:v1|v1beta)/models/(?P<model>.+):\w+")


def elsewhere(method: str, path: str) -> Refusal:
    """What other addresses answer: the list of models, or the misleading replies of a gateway."""
    listed = _LIST.fullmatch(path)
    if listed and lists_models(method, path):
        return _model_list(listed["model"])
    other = _METHOD.fullmatch(path)
    if other:
        return errors.model_not_found(other["model"]).refusal
    if method == "GET":
        return errors.page(200)
    # Seen on CometAPI: a wrong path is no JSON 404 but a redirect, which a client must not follow.
    return replace(errors.page(301), headers={"Location": "/not-found"})


def lists_models(method: str, path: str) -> bool:
    """Whether a request asks which models there are, or for what is known of one."""
    return method == "GET" and _LIST.fullmatch(path) is not None


def _model_list(model_id: str | None) -> Refusal:
    known = [
        {
            "name": f"models/{model.id}",
            "displayName": model.id,
            "supportedGenerationMethods": ["generateContent"],
        }
        for model in models.MODELS
    ]
    if model_id is None:
        return Refusal(200, json.dumps({"models": known}).encode())
    model = models.find(model_id)
    if model is None:
        return errors.model_not_found(model_id).refusal
    return Refusal(200, json.dumps(known[models.MODELS.index(model)]).encode())


def of_rule(action: faults.Refusing, *, model_id: str, request_id: str) -> Refusal:
    """The response that a `status` or `redirect` rule asks for."""
    if isinstance(action, faults.Redirect):
        return replace(errors.page(301), headers={"Location": action.url})
    headers = {} if action.retry_after is None else {"Retry-After": action.retry_after}
    match action.body:
        case "google" | "list":
            return _google_refusal(action, model_id, headers)
        case "gateway":
            return errors.gateway(
                action.status,
                request_id=request_id,
                code=action.code,
                message=action.message,
                model=model_id,
                headers=headers,
            )
        case "html":
            return errors.page(action.status, headers=headers)
        case "empty" | "file":
            return Refusal(action.status, action.content, action.content_type, headers)


def _google_refusal(action: faults.Status, model_id: str, headers: Mapping[str, str]) -> Refusal:
    delay = action.retry_delay
    if action.quota is not None:
        refusal = errors.over_quota(action.quota, model_id, retry_delay=delay, headers=headers)
        return errors.as_list(refusal) if action.body == "list" else refusal
    details = [errors.error_info(action.reason)] if action.reason else []
    details += [errors.retry_info(delay)] if delay else []
    refusal = errors.google(action.status, action.message, details=tuple(details), headers=headers)
    return errors.as_list(refusal) if action.body == "list" else refusal
