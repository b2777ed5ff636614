-- The log and everything that is a position in it or a count of it. Rows of the
-- append-only tables stand in the order of their integer key.

CREATE TABLE log(                 -- one row: what must never go backwards
  one INTEGER PRIMARY KEY CHECK (one = 1),
  id TEXT NOT NULL,               -- this log's own id
  newest_seq INTEGER NOT NULL,
  newest_raw INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  min_reader INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE names(               -- sources and sinks by number
  id INTEGER PRIMARY KEY,
  side TEXT NOT NULL CHECK (side IN ('source', 'sink')),
  name TEXT NOT NULL,
  provider TEXT NOT NULL DEFAULT '',
  UNIQUE (side, name)
) STRICT;

CREATE TABLE events(
  seq INTEGER PRIMARY KEY,
  source INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  lane INTEGER NOT NULL,
  origin INTEGER NOT NULL,
  at_ms INTEGER,
  received_ms INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  raw INTEGER NOT NULL,
  part INTEGER NOT NULL,
  crc INTEGER NOT NULL,           -- over body and seq
  body BLOB NOT NULL
) STRICT;
CREATE INDEX events_by_kind ON events(kind, seq);
CREATE INDEX events_of_safety ON events(seq) WHERE lane = 1;

CREATE TABLE raw(                 -- a request or page as received
  id INTEGER PRIMARY KEY,
  source INTEGER NOT NULL,
  feed TEXT NOT NULL,
  received_ms INTEGER NOT NULL,
  signed_ms INTEGER,
  verdict TEXT NOT NULL,
  headers TEXT NOT NULL,
  packed INTEGER NOT NULL,        -- 1: body is zlib
  body BLOB NOT NULL
) STRICT;

CREATE TABLE seen(                -- day of the event, then a hash of its identity
  key BLOB PRIMARY KEY,
  seq INTEGER NOT NULL,
  filled INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE asides(              -- events counted out: filtered and duplicate
  id INTEGER PRIMARY KEY,
  source INTEGER NOT NULL,
  hour INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  why TEXT NOT NULL,
  kind INTEGER NOT NULL,
  event TEXT NOT NULL,
  vehicle TEXT NOT NULL,
  raw INTEGER NOT NULL,
  part INTEGER NOT NULL
) STRICT;

CREATE TABLE totals(              -- the ledger
  scope INTEGER NOT NULL,
  hour INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  why TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (scope, hour, kind, outcome, why)
) STRICT, WITHOUT ROWID;

CREATE TABLE sums(                -- the ledger over all hours, also those that were pruned
  scope INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  why TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (scope, kind, outcome, why)
) STRICT, WITHOUT ROWID;

CREATE TABLE minutes(             -- one heartbeat a minute
  minute INTEGER PRIMARY KEY,
  state TEXT NOT NULL
) STRICT;

CREATE TABLE cursors(
  sink INTEGER NOT NULL,
  lane INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  waiting INTEGER NOT NULL,       -- taken and not yet decided
  taking TEXT NOT NULL,           -- what `waiting` was counted under
  PRIMARY KEY (sink, lane)
) STRICT, WITHOUT ROWID;

CREATE TABLE bookmarks(
  source INTEGER NOT NULL,
  feed TEXT NOT NULL,
  value TEXT,
  success_ms INTEGER NOT NULL,
  PRIMARY KEY (source, feed)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead(
  id INTEGER PRIMARY KEY,
  scope INTEGER NOT NULL,         -- the source or sink that could not carry it
  hour INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  seq INTEGER,                    -- a sink's event
  kind INTEGER NOT NULL,
  feed TEXT NOT NULL,
  digest BLOB NOT NULL,           -- of the bytes: the same record again is a duplicate
  why TEXT NOT NULL,
  status INTEGER,
  answer BLOB NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX dead_records ON dead(scope, feed, digest) WHERE seq IS NULL;
CREATE UNIQUE INDEX dead_events ON dead(scope, seq) WHERE seq IS NOT NULL;

CREATE TABLE unverified(
  id INTEGER PRIMARY KEY,
  source INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  peer TEXT NOT NULL,
  why TEXT NOT NULL,
  headers TEXT NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX unverified_by_source ON unverified(source, id);

CREATE TABLE attempts(            -- one row a request
  id INTEGER PRIMARY KEY,
  sink INTEGER NOT NULL,
  job INTEGER NOT NULL,
  lane INTEGER NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  n INTEGER NOT NULL,
  verdict TEXT NOT NULL,
  status INTEGER,
  ms INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  key TEXT NOT NULL,
  answer BLOB NOT NULL
) STRICT;
CREATE INDEX attempts_by_reach ON attempts(last, first);

CREATE TABLE facts(               -- what is known of a vehicle, each with its time
  source INTEGER NOT NULL,
  vehicle TEXT NOT NULL,
  name TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  value TEXT,
  PRIMARY KEY (source, vehicle, name, at_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE records(             -- the directory record that stands
  source INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  id TEXT NOT NULL,
  content TEXT NOT NULL,
  revision INTEGER,
  seq INTEGER NOT NULL,
  PRIMARY KEY (source, kind, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs(
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,             -- replay | backfill
  target TEXT NOT NULL,
  spec TEXT NOT NULL,
  state TEXT NOT NULL,            -- running | paused | done | cancelled | failed
  why TEXT NOT NULL,
  cursor INTEGER NOT NULL,
  upto INTEGER NOT NULL,
  done INTEGER NOT NULL,
  total INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  changed_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE kept(                -- small states that outlive a restart
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
