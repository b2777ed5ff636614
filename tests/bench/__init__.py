"""What fleetd can do on this machine, beside what others can, as one JSON document.

    python -m tests.bench NAME [--peer] [--rounds 3] [--seconds 8] [--dir FOLDER] ...

The document goes to stdout, progress to stderr; the exit status is 0 if the bench ran. A budget that was missed
is reported as `"met": false`, not asserted: a shared machine is no judge. Ratios measured side by side in one run
say more than figures.

    intake      signed webhooks a second, on the disk before the answer; --peer adds Flask + gunicorn + SQLite and
                FastAPI + uvicorn + Redis Streams. --sync-delay-ms 5 --sinks 4 is the slow disk with four sinks.
    latency     1 000 a second whatever the server does (open loop), over what a sync of the same folder takes
    restart     kill -9 with a million events waiting; the first 2xx and the memory after it
    readback    how fast the log is read for delivery, and what a sink costs that takes 1 in 10 000
    big         intake and `status` with five million events in the log, beside an empty one
    disk        bytes stored per byte received while raw is kept, and bytes an event after it went

Every fleetd here has `max_disk` set, one source with a signing secret, dedupe, raw bytes kept, the ledger and one
file sink. Events are Motive `vehicle_location_received` bodies of about 940 bytes, each a point of its own, from
600 vehicles. Syncs are only what they seem on a real disk: `--dir` must not be tmpfs (`machine.filesystem` tells).

It needs a C compiler (`cc`: the load generator, the black hole and the slow sync are small C programs, so that
they cost little beside what they measure). The peers need the extra `bench` and Debian's `redis-server`, which is
started on a socket in a folder of its own, never as the system's service.
"""
