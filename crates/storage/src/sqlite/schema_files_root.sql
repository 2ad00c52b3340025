-- Files by what they hold, so that it is found who refers to something in the store.
CREATE INDEX request_file_root ON request_file (root) WHERE root IS NOT NULL;
