"""A peer: FastAPI under uvicorn, Redis Streams with appendfsync always, answered after the reply to XADD."""

from __future__ import annotations

import hmac
import os

import msgspec
from fastapi import FastAPI, Request, Response
from redis.asyncio import BlockingConnectionPool, Redis

WEEK_S = 7 * 86_400
STORE = """
if redis.call('SET', KEYS[1], '', 'NX', 'EX', ARGV[2]) then
    redis.call('XADD', KEYS[2], '*', 'body', ARGV[1])
    return 1
end
return 0
"""
SECRET = os.environ["BENCH_SECRET"].encode()


class Point(msgspec.Struct):
    id: str


app = FastAPI(openapi_url=None)
decoder = msgspec.json.Decoder(Point)
redis = Redis(
    connection_pool=BlockingConnectionPool.from_url(
        os.environ["BENCH_REDIS"], max_connections=64
    )
)
store = redis.register_script(STORE)  # both in one round trip, and a repeat adds nothing


@app.post("/webhooks/north")
async def receive(request: Request) -> Response:
    body = await request.body()
    claimed = request.headers.get("x-kt-webhook-signature", "")
    if not hmac.compare_digest(hmac.digest(SECRET, body, "sha1").hex(), claimed):
        return Response("refused", 403)
    point = decoder.decode(body)
    if os.environ.get("X_PIPE"):
        pipe = redis.pipeline(transaction=False)
        pipe.set("seen:" + point.id, b"", nx=True, ex=WEEK_S)
        pipe.xadd("events", {b"body": body})
        await pipe.execute()
        stored = 1
    else:
        stored = await redis.evalsha(store.sha, 2, "seen:" + point.id, "events", body, WEEK_S)
    return Response(b'{"stored":%d}' % stored, media_type="application/json")


@app.on_event("startup")
async def load_the_script() -> None:
    await redis.script_load(STORE)
