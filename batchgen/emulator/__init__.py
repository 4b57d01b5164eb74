"""A Gemini-shaped HTTP server that draws its pictures itself.

It is for trying a job without paying, for the demonstration, and the oracle of the tests. It
shares no code with the client, so that one wrong reading of the API cannot hide another.

    with Emulator(Settings(latency_s=(0, 0))) as emulator:
        ...                         # POST {emulator.base_url}/v1beta/models/{id}:generateContent
        emulator.counts()["images"]

The way of a request through the files:

    server       a thread or a process, an event loop, a port on 127.0.0.1
    app          arrival, key, rate limit, fault, answer
    body         the JSON, in either spelling, as typed records          (blobs: its images)
    checks       every check of the real service                  (models: the facts)
    asked        what is asked for
    replies      candidates, parts, signatures       (usage: the token counts; grounding)
    drawing      which images, in what pixels, whole or not
    pictures     one image                                      (backgrounds, references)
    delivery     the bytes on the wire, and what goes wrong there
    refusals     errors in place of an answer                   (errors: their bodies)
    faults       the rules that say what goes wrong             (faults_file: reading them)
    counts       what happened

Any key is accepted but none and `invalid-key`. Beside the API it answers
`GET /emulator/counts`, `GET /emulator/requests?limit=N` and `POST /emulator/reset`.
"""

from batchgen.emulator.faults import FaultsError
from batchgen.emulator.server import Emulator, serve
from batchgen.emulator.settings import Settings

__all__ = ["Emulator", "FaultsError", "Settings", "serve"]
