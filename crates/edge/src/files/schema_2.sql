-- What its request is, as the center said when the file began: by this the audit knows its rules, also after a restart.
-- Empty for files from before, and for parts.
ALTER TABLE file ADD COLUMN request_kind TEXT NOT NULL DEFAULT '';
ALTER TABLE file ADD COLUMN request_form TEXT NOT NULL DEFAULT '';
