"""A CronJob of Kubernetes (batch/v1), for 1.27 or newer, which knows `timeZone`.

The volume holds the directory from which `schedule` was called, so that relative paths lead to the
same files. Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/cron-job-v1/,
and "Restricted" of https://kubernetes.io/docs/concepts/security/pod-security-standards/.
"""

import hashlib
import os
import re
import shlex
from pathlib import PurePath
from typing import Any, Final

import yaml

from batchgen.errors import UsageError
from batchgen.schedule.start import Start, commented

# A CronJob's own limit: eleven more characters name each of its Jobs.
_MAX_NAME_CHARS: Final = 52
_WORK: Final = "/work"
_KEYS: Final = "/etc/batchgen"
_KEY: Final = "api-key"
# Any user that is not root; the volume's files belong to this group.
_USER_ID: Final = 65532
_LATE_S: Final = 3600
_N_KEPT: Final = 7


class _Text(str):
    """A text from outside: written in double quotes, so that no reader takes it for a number."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes `_Text` in double quotes."""


_Dumper.add_representer(
    _Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def render(start: Start, *, image: str, time_zone: str) -> dict[str, str]:
    """The manifest by its file's name.

    Args:
        start: What is started.
        image: The container's image, which has `batchgen` on its PATH.
        time_zone: Whose clock is meant, such as `Europe/Berlin`.

    Raises:
        UsageError: A path that leads out of the directory, which is all that the volume holds.
    """
    name = object_name(start.unit)
    written = yaml.dump(
        _cron_job(start, name, image, time_zone),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )
    return {f"{name}.yaml": f"{commented(_head(start, name))}{written}"}


def object_name(name: str) -> str:
    """A name that Kubernetes takes (RFC 1123, 52 characters), another one for each name.

    One that must be changed gets eight digits of its SHA-256, so that no two become the same.
    """
    clean = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    if clean == name and len(name) <= _MAX_NAME_CHARS:
        return name
    digits = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{clean[: _MAX_NAME_CHARS - 9].rstrip('-')}-{digits}"


def _head(start: Start, name: str) -> list[str]:
    steps = [
        f"kubectl apply -f {name}.yaml",
        f"kubectl get cronjob {name}",
        f"kubectl create job --from=cronjob/{name} {name}-now   # once now, to see it work",
        f"kubectl logs job/{name}-now   # its log",
    ]
    if start.key_file is not None:
        source = "/dev/stdin"
        piped = f"printenv {start.key_env[0]} | " if start.key_env else ""
        hint = "" if piped else "   # paste the key, Enter, Ctrl-D"
        steps.insert(
            0, f"{piped}kubectl create secret generic {name} --from-file={_KEY}={source}{hint}"
        )
    steps[:0] = start.hook_steps(
        f"kubectl create secret generic {name}-env --from-env-file=/dev/stdin"
    )
    return [
        f"The batchgen job {start.name}, {start.when.in_words}. Needs Kubernetes 1.27.",
        f"The claim {name} must be there, as {_WORK}, and hold what is in",
        f"  {shlex.quote(start.directory)}",
        f"The group {_USER_ID} reads its files and writes the output. Such a claim:",
        f"  {{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: {name}}},",
        "   spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 20Gi}}}}",
        "`kubectl cp` fills it through any pod that mounts it. The image must have batchgen in its",
        "PATH: docs/how-to/nightly.md has one of four lines.",
        f"To install it, with this text saved as {name}.yaml (--into DIR does that):",
        *(f"  {step}" for step in steps),
        f"A hook's address, or BATCHGEN_… of any flag: a Secret {name}-env of names and values;",
        "it may be missing.",
    ]


def _cron_job(start: Start, name: str, image: str, time_zone: str) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": _Text(name), "labels": _labels(name)},
        "spec": {
            "schedule": _Text(start.when.cron),
            "timeZone": _Text(time_zone),
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": _LATE_S,
            "successfulJobsHistoryLimit": _N_KEPT,
            "failedJobsHistoryLimit": _N_KEPT,
            "jobTemplate": {
                "metadata": {"labels": _labels(name)},
                # Whatever stopped a run would stop another one at once; the next night tries again.
                "spec": {
                    "backoffLimit": 0,
                    "template": {
                        "metadata": {"labels": _labels(name)},
                        "spec": _pod(start, name, image, time_zone),
                    },
                },
            },
        },
    }


def _labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "batchgen", "app.kubernetes.io/instance": _Text(name)}


def _pod(start: Start, name: str, image: str, time_zone: str) -> dict[str, Any]:
    claim: dict[str, Any] = {"name": "work", "persistentVolumeClaim": {"claimName": _Text(name)}}
    secret: dict[str, Any] = {
        "name": "key",
        "secret": {"secretName": _Text(name), "defaultMode": 0o440},
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": start.end_s,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER_ID,
            "runAsGroup": _USER_ID,
            "fsGroup": _USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(start, name, image, time_zone)],
        "volumes": [
            claim,
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            *([] if start.key_file is None else [secret]),
        ],
    }


def _container(start: Start, name: str, image: str, time_zone: str) -> dict[str, Any]:
    key_mount = {"name": "key", "mountPath": _KEYS, "readOnly": True}
    return {
        "name": "batchgen",
        "image": _Text(image),
        "command": ["batchgen"],
        "args": [_Text(word.replace("$", "$$")) for word in _words(start)],
        "workingDir": _WORK,
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the container's own
            # By its clock --deadline is meant.
            {"name": "TZ", "value": _Text(time_zone)},
        ],
        "envFrom": [{"secretRef": {"name": _Text(f"{name}-env"), "optional": True}}],
        "resources": {
            "requests": {"cpu": "250m", "memory": "512Mi"},
            "limits": {"memory": "1Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "work", "mountPath": _WORK},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
            *([] if start.key_file is None else [key_mount]),
        ],
    }


def _words(start: Start) -> tuple[str, ...]:
    """The words after `batchgen`, with paths as they are inside the container."""
    for path in (start.job, start.output, *start.writes):
        _check_inside(path, start.directory)
    for path in start.paths:
        if PurePath(path).is_absolute():
            raise _outside(path)
        _check_inside(os.path.normpath(PurePath(start.directory) / path), start.directory)
    key = () if start.key_file is None else ("--api-key-file", f"{_KEYS}/{_KEY}")
    # What a cluster's log collector reads.
    log = start.unless("log_format", "--log-format", "json")
    return ("run", start.job_from_here, *log, *start.flags, *key)


def _check_inside(path: str, directory: str) -> None:
    if not PurePath(path).is_relative_to(directory):
        raise _outside(path)


def _outside(path: str) -> UsageError:
    return UsageError(
        f"{path}: a container has only what lies below this directory, as {_WORK}; "
        "go to a directory that holds it, and name it by a relative path"
    )
