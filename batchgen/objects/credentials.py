"""Which of the standard chains has a key for a store; nobody is asked, and no key is looked at.

A store that finds no key asks the machine's metadata service, which on a laptop does not answer
for minutes. The library does not read the profiles of AWS; boto3 does, if it is installed.

Source: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from batchgen.errors import UsageError

# Where a key would come from; `metadata` is what is left when there is none.
Chain: TypeAlias = Literal["environment", "identity", "container", "profile", "metadata"]
_ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "az": ("AZURE_STORAGE_ENDPOINT",),
}
_AWS: Final[tuple[tuple[Chain, tuple[str, ...]], ...]] = (
    ("environment", ("AWS_ACCESS_KEY_ID",)),
    ("environment", ("AWS_SKIP_SIGNATURE",)),
    ("identity", ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")),
    ("container", ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",)),
    ("container", ("AWS_CONTAINER_CREDENTIALS_FULL_URI",)),
)


def endpoint_of(scheme: str, environment: Mapping[str, str]) -> str | None:
    """Where a store answers, if the environment names another place than the usual one."""
    names = _ENDPOINTS.get(scheme, ())
    return next(filter(None, (environment.get(name) for name in names)), None)


def aws_chain(environment: Mapping[str, str], home: Path) -> Chain:
    """Which chain has a key for S3, in the order of Amazon's own tools.

    A file that only sets a region has none.
    """
    for chain, names in _AWS:
        if all(environment.get(name) for name in names):
            return chain
    file = environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws/credentials"
    is_named = bool(environment.get("AWS_PROFILE"))
    return "profile" if is_named or Path(file).is_file() else "metadata"


def aws_provider(chain: Chain) -> Any:
    """What hands the library a key that it would not find by itself; None where it does.

    Raises:
        UsageError: The key is in a profile, and boto3 is missing or cannot read it.
    """
    if chain != "profile":
        return None
    try:
        from boto3 import Session  # noqa: PLC0415 - few need it
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415 - the extra
    except ImportError:
        raise UsageError(
            "the key for S3 is in a profile of ~/.aws, which takes boto3 to read: "
            "pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    try:
        session = Session(profile_name=os.environ.get("AWS_PROFILE"))
        if session.get_credentials() is None:
            return None  # then perhaps the machine has a role
        return Boto3CredentialProvider(session)
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"the profile of ~/.aws for S3 cannot be used: {error}") from error
