CREATE TABLE lesson_plans (
    id          TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,
    school      TEXT,
    topic       TEXT NOT NULL,
    subject     TEXT NOT NULL,
    grade       INTEGER NOT NULL,
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL,
    document    TEXT NOT NULL
) STRICT;

-- Listing is newest first within what the caller may read; UUIDv7 ids sort by time.
CREATE INDEX lesson_plans_by_owner ON lesson_plans (owner, id DESC);
CREATE INDEX lesson_plans_by_school ON lesson_plans (school, id DESC);

CREATE TABLE lesson_messages (
    id          TEXT PRIMARY KEY,
    plan_id     TEXT NOT NULL REFERENCES lesson_plans (id) ON DELETE CASCADE,
    role        TEXT NOT NULL,
    text        TEXT NOT NULL,
    citations   TEXT NOT NULL,
    section     TEXT,
    created_at  TEXT NOT NULL
) STRICT;

CREATE INDEX lesson_messages_by_plan ON lesson_messages (plan_id, id);
