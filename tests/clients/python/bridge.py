"""The stock `pusher` package behind a pipe.

The argument holds the client's options as JSON. Each line of stdin is one call, {"method": .., "args": [..]};
each line of stdout its answer, {"result": ..} or {"error": class name, "message": ..}.
"""

import json
import sys

import pusher

client = pusher.Pusher(**json.loads(sys.argv[1]))
for line in sys.stdin:
    call = json.loads(line)
    try:
        answer = {"result": getattr(client, call["method"])(*call["args"])}
    except Exception as error:  # pylint: disable=broad-except
        answer = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(answer), flush=True)
