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
_AWS: Final[tuple[tuple[Chain, tuple[str, ...]], ...]] = (
    ("environment", ("AWS_ACCESS_KEY_ID",)),
    ("environment", ("AWS_SKIP_SIGNATURE",)),
    ("identity", ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")),
    ("container", ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",)),
    ("container", ("AWS_CONTAINER_CREDENTIALS_FULL_URI",)),
)


def aws_chain(environment: Mapping[str, str], home: Path) -> Chain:
    """Which chain has a key for S3."""
    if "AWS_PROFILE" not in environment:
        for chain, names in _AWS:
            if all(environment.get(name) for name in names):
                return chain
    files = (
        environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws/credentials",
        environment.get("AWS_CONFIG_FILE") or home / ".aws/config",
    )
    return "profile" if any(Path(file).is_file() for file in files) else "metadata"


def aws_provider(chain: Chain) -> Any:
    """What hands the library a key that it would not find by itself; None where it does.

    Raises:
        UsageError: The key is in a profile, and boto3 is missing.
    """
    if chain != "profile":
        return None
    try:
        from boto3 import Session  # noqa: PLC0415 - few need it
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415 - the extra
    except ImportError:
        raise UsageError(
            "the key for S3 is in a profile of ~/.aws, which takes boto3 to read: "
            "pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    return Boto3CredentialProvider(Session(profile_name=os.environ.get("AWS_PROFILE")))
