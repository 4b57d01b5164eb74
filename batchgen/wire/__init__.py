"""The border to Gemini's JSON: the only place that knows its member names.

- `request`: an item becomes the chunks of a body;
- `stream`: the bytes of an answer become decoded images and a small skeleton, as they arrive;
- `base64_stream`: the text of one image becomes its bytes, a piece at a time;
- `reply`: the skeleton becomes a `Reply`, and a `Reply` a picture or a reason;
- `usage`: usageMetadata becomes counts;
- `fault`: the status and body of a refusal become an error.
"""
