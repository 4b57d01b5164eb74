"""The border to Gemini's JSON: the only place that knows its member names.

- `request`: an item, or one turn of it, becomes the chunks of a body;
- `camel`: a raw body is put into the one spelling that is sent;
- `content`: what the model said in one turn is kept as it was received, for the next;
- `stream`: the bytes of an answer become decoded images and a small skeleton, as they arrive;
- `base64_stream`: the text of one image becomes its bytes, a piece at a time;
- `envelope`: what gateways put around an answer, and the shapes that its members come in;
- `reply`: the skeleton becomes a `Reply`, and a `Reply` a picture or a reason;
- `grounding`: groundingMetadata becomes queries and sources that people can be shown;
- `usage`: usageMetadata becomes counts;
- `fault`: the status and body of a refusal become an error.
"""
