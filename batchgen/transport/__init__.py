"""The only HTTP of a run.

session      one request, from connecting to the last byte of its answer
flow         the body of an answer, taken as it arrives
connections  certificates; idle connections that were closed under us
body         size, speed and compression of what arrives
failures     aiohttp's exceptions in our terms
"""

from batchgen.transport.connections import tls_context
from batchgen.transport.failures import translate
from batchgen.transport.session import SENT_AGAIN, Response, Transport

__all__ = ["SENT_AGAIN", "Response", "Transport", "tls_context", "translate"]
