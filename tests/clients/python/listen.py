"""Python's clients behind a pipe: `listen.py pysher|asyncpusher OPTIONS CHANNEL...`.

Subscribes to the channels and prints what they are told, a line for each event: {"channel": .., "event": .., "data": ..}.
It leaves at the end of stdin.
"""

import asyncio
import hashlib
import hmac
import json
import sys

EVENTS = ["pusher_internal:subscription_succeeded", "paid"]
MEMBER = {"user_id": "py"}

library, options, channels = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]


def say(channel, event, data):
    data = json.loads(data) if isinstance(data, str) else data
    print(json.dumps({"channel": channel, "event": event, "data": data}), flush=True)


def with_pysher():
    import pysher

    client = pysher.Pusher(
        options["key"],
        custom_host=options["host"],
        port=options["port"],
        secure=False,
        secret=options["secret"],
        user_data=MEMBER,
        reconnect_interval=1,
    )

    def connected(_):
        for name in channels:
            channel = client.subscribe(name)
            for event in EVENTS:
                channel.bind(event, lambda data, name=name, event=event: say(name, event, data))

    # It comes on every connection: `auto_sub` would subscribe to public channels only.
    client.connection.bind("pusher:connection_established", connected)
    client.connect()
    sys.stdin.read()
    # Its thread sleeps for up to 100 s before it notices.
    client.disconnect(1)


async def with_asyncpusher():
    import asyncpusher

    async def sign(request):
        """What an application's auth endpoint answers."""
        answer = {}
        text = f"{request['socket_id']}:{request['channel_name']}"
        if request["channel_name"].startswith("presence-"):
            answer["channel_data"] = json.dumps(MEMBER)
            text += f":{answer['channel_data']}"
        digest = hmac.new(options["secret"].encode(), text.encode(), hashlib.sha256).hexdigest()
        return {"auth": f"{options['key']}:{digest}", **answer}

    client = asyncpusher.Pusher(
        options["key"],
        custom_host=options["host"],
        custom_port=options["port"],
        secure=False,
        channel_authenticator=sign,
        auto_sub=True,
    )
    await client.connect()
    for name in channels:
        # `subscribe` awaits before a handler can be bound, so what follows may be missed: an event, not the success.
        channel = await client.subscribe(name)
        for event in EVENTS:

            async def told(data, name=name, event=event):
                say(name, event, data)

            channel.bind(event, told)
    await asyncio.to_thread(sys.stdin.read)
    await client.disconnect()


if library == "pysher":
    with_pysher()
else:
    asyncio.run(with_asyncpusher())
