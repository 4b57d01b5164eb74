"""Object stores: addresses of objects, and a bucket that says what went wrong in our words.

- `address`: `s3://bucket/key`, `gs://…`, `az://…`, without a store;
- `bucket`: the only module that knows the library (extra `cloud`);
- `credentials`: which of the standard chains has a key, told without asking anybody.
"""

from batchgen.objects.address import (
    SCHEMES,
    AddressError,
    ObjectAddress,
    address_of,
    as_written,
    is_address,
    read_address,
)

__all__ = [
    "SCHEMES",
    "AddressError",
    "ObjectAddress",
    "address_of",
    "as_written",
    "is_address",
    "read_address",
]
