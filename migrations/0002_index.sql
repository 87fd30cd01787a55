-- The search index. A document, its passages, their full-text rows and their vectors are written in one transaction.

CREATE TABLE documents (
    id         TEXT PRIMARY KEY,
    collection TEXT NOT NULL CHECK (collection IN ('curriculum', 'affairs')),
    kind       TEXT NOT NULL CHECK (kind IN ('document', 'concept')),
    -- What the document is called where it comes from: a relative path, a concept id.
    reference  TEXT NOT NULL,
    title      TEXT NOT NULL,
    subject    TEXT,
    grade      INTEGER CHECK (grade BETWEEN 1 AND 12),
    -- NULL: every school sees it.
    school     TEXT,
    -- SHA-256 of everything that the passages are made from.
    hash       TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE UNIQUE INDEX documents_source ON documents (collection, kind, reference, ifnull(school, ''));

CREATE TABLE passages (
    -- Also the row id of `passages_fts`.
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    -- Heading path.
    locator     TEXT,
    text        TEXT NOT NULL,
    -- The encoder that made `vector`; both NULL until an encoder was available.
    encoder     TEXT,
    -- Little-endian f16.
    vector      BLOB
);

CREATE INDEX passages_document ON passages (document_id, position);

CREATE TABLE passage_concepts (
    concept TEXT NOT NULL,
    passage INTEGER NOT NULL REFERENCES passages (number) ON DELETE CASCADE,
    -- 0 is the concept that the passage is most about.
    position INTEGER NOT NULL,
    PRIMARY KEY (concept, passage)
) WITHOUT ROWID;

CREATE INDEX passage_concepts_passage ON passage_concepts (passage);

-- Words come in segmented and separated by spaces; the text itself is in `passages`.
CREATE VIRTUAL TABLE passages_fts USING fts5 (title, body, content = '', contentless_delete = 1, tokenize = 'unicode61');

-- Counts the writes, so that another process (`zhujiao ingest`) is noticed by a running server.
CREATE TABLE index_state (version INTEGER NOT NULL);
INSERT INTO index_state (version) VALUES (0);
