-- SQLite compares text by bytes. In PostgreSQL, that needs: TEXT COLLATE "C".

-- One row for each log, with its epoch. A log that was removed has none, and its successor has another epoch.
CREATE TABLE logs (
    room_id TEXT PRIMARY KEY,
    epoch   TEXT NOT NULL
) WITHOUT ROWID;

-- `body` is the whole encoded event; the columns before it serve queries, those of the store and ad-hoc ones.
CREATE TABLE events (
    room_id   TEXT    NOT NULL,
    seq       INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    event     TEXT    NOT NULL,
    body      BLOB    NOT NULL,
    PRIMARY KEY (room_id, seq)
) WITHOUT ROWID;

CREATE INDEX events_by_time ON events (room_id, timestamp, seq);

-- Idempotency keys. A key outlives its event, and a user may use a key twice, so there is no UNIQUE (sender, key).
CREATE TABLE keys (
    room_id   TEXT    NOT NULL,
    seq       INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    sender    TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    event_id  TEXT    NOT NULL,
    PRIMARY KEY (room_id, seq)
) WITHOUT ROWID;

CREATE TABLE records (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

PRAGMA user_version = 1;
