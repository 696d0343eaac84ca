-- read_meta() no-writes
--
-- Read the meta record.
--
-- Returns {code, now, '', fields}; no fields when it was never initialised.

return {'ok', at, '', flat(read('meta'))}
